"""Checks of features that a user hands to the array-level functions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import DataError, ShapeError
from infotorch.linalg.eigen import eigh
from infotorch.measures.kernel_input import Array, as_tensor, float64
from infotorch.measures.primal.moments import TILE_BYTES, Moments, moments_of, second_moment
from infotorch.measures.primal.problem import FeatureProblem


@dataclass(frozen=True, kw_only=True)
class FeatureInput:
    """Checked features in the dtype that they came in, on their device."""

    features: Tensor
    """[N b, k], b rows a sample."""
    residual: Tensor
    """[N, C] as given, float64."""
    tests: Tensor | None
    """[t, k]: features of test samples, or k rows with the same second moment where these are fewer."""
    num_test: int
    """M."""
    rows_per_sample: int
    """b: C, or 1 where all outputs share the features."""
    moments: Moments | None = None
    """Of all samples on which the network is trained; None: they are the samples at hand."""

    def problem(self, kept: Tensor | None = None, *, overwrite: bool = False) -> FeatureProblem:
        """The problem on the samples of ``kept`` [N], all of them by default. Nothing is ever overwritten."""
        columns = self.residual.shape[1] // self.rows_per_sample  # right-hand sides of the same features
        features, residual = self.features, self.residual.reshape(-1, columns)
        if kept is not None and not kept.all():
            rows = kept.repeat_interleave(self.rows_per_sample)
            features, residual = features[rows], residual[rows]
        return FeatureProblem(
            features=features,
            residual=residual,
            moments=self.moments or moments_of(features, residual, len(features) // self.rows_per_sample),
            test_rows=self.tests,
            num_test=self.num_test,
        )

    def rows_of_removed(self, kept: Tensor) -> Tensor:
        """Features of the others than ``kept`` [N], [., k] in float64."""
        return self.features[~kept.repeat_interleave(self.rows_per_sample)].to(torch.float64)


def feature_input(
    where: str, features: Array, residual: Array, features_test: Array | None = None, *, each_test: bool = False
) -> FeatureInput:
    """Check features, residual and test features.

    ``each_test``: changes of single test outputs will be asked for, not only their mean square.

    Raises:
        ShapeError: Sizes disagree, or there are fewer than two samples.
        DataError: A dtype is not float32 or float64, or a value is not finite.
    """
    r = float64(where, "residual", residual)
    phi = _checked(where, "features", features)
    if r.ndim != 2 or len(r) != len(phi) or (phi.ndim == 3 and phi.shape[1] != r.shape[1]):
        raise ShapeError(
            f"{where}: residual must be [N, C] for features [N, C, k], or [N, k] where outputs share them; got "
            f"{list(r.shape)} and {list(phi.shape)}. Give one row a sample in both."
        )
    if len(r) < 2 or r.shape[1] == 0:
        raise DataError(
            f"{where}: needs at least 2 samples and 1 output; got {r.shape[0]} and {r.shape[1]}. "
            "A sample's unique information compares training with it and without it."
        )
    _refuse_not_finite(where, "residual", r)
    tests, num_test = None, 0
    if features_test is not None:
        rows = _checked(where, "features_test", features_test).to(phi.device)
        if rows.shape[1:] != phi.shape[1:]:
            raise ShapeError(
                f"{where}: features_test must be {['M', *phi.shape[1:]]}, like features; got {list(rows.shape)}. "
                "Sketch both with one seed."
            )
        tests, num_test = rows.flatten(0, -2), len(rows)
        if not each_test:
            tests = fewest_rows(tests)
    return FeatureInput(
        features=phi.flatten(0, -2),
        residual=r.to(phi.device),
        tests=tests,
        num_test=num_test,
        rows_per_sample=1 if phi.ndim == 2 else phi.shape[1],
    )


def fewest_rows(tests: Tensor) -> Tensor:
    """Features [t, k] themselves, or k rows with the same second moment where these are fewer."""
    if len(tests) <= tests.shape[1]:
        return tests
    return root(second_moment(tests))


def root(second: Tensor) -> Tensor:
    """Rows R [k, k] with R^T R = ``second``."""
    eigen = eigh(second)
    return eigen.values.clamp(min=0).sqrt()[:, None] * eigen.vectors


def _checked(where: str, name: str, value: Array) -> Tensor:
    tensor, _ = as_tensor(where, name, value, read_only=True)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"{where}: {name} must be float32 or float64; got {str(tensor.dtype).removeprefix('torch.')}. Convert it."
        )
    if tensor.ndim not in (2, 3) or 0 in tensor.shape:
        raise ShapeError(
            f"{where}: {name} must be [N, C, k], or [N, k] where outputs share them; got {list(tensor.shape)}. "
            "Give k numbers for every sample and output."
        )
    _refuse_not_finite(where, name, tensor)
    return tensor


def _refuse_not_finite(where: str, name: str, values: Tensor) -> None:
    start = 0
    for tile in values.split(max(1, TILE_BYTES // (8 * values[0].numel()))):
        finite = tile.isfinite().flatten(1).all(1)
        if not finite.all():
            first = int((~finite).nonzero()[0])
            wrong = tile[first][~tile[first].isfinite()]
            raise DataError(
                f"{where}: {name} must be finite; got {float(wrong[0])} in sample {start + first}. "
                "Remove the sample, or repair the model."
            )
        start += len(tile)
