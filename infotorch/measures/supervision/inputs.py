"""Checks of kernels, targets and ridges, and the move to float64."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.linalg.brackets import EPS
from infotorch.linalg.symmetric import asymmetry
from infotorch.measures.kernel_input import ASYMMETRY_IN_EPS, Array, as_tensor

__all__ = ["NOISE", "WHERE", "Kernel", "Ridges", "check_noise", "checked_kernel", "checked_targets"]

WHERE = "supervision_complexity"
NOISE = {"float32": 1e-5, "float64": 1e-12}
"""Least ridge of a kernel from that dtype, relative to its largest eigenvalue; below it stands rounding."""
SINGLE = "targets"


@dataclass(frozen=True, kw_only=True)
class Ridges:
    """The ridges that were asked for, absolute or relative to the mean of the diagonal."""

    values: tuple[float, ...]
    relative: bool
    single: bool
    """One number was given, so that one is given back."""

    @staticmethod
    def of(ridge: Any, ridge_rel: Any) -> "Ridges":
        """Exactly one of both, a number or several, each finite and at least 0."""
        if (ridge is None) == (ridge_rel is None):
            got = "none" if ridge is None else "both"
            raise ConfigError(
                f"{WHERE}: exactly one of ridge and ridge_rel must be given; got {got}. "
                "Pass ridge, or ridge_rel in units of Tr(K)/(N*C): there is no default, as it changes the ranking."
            )
        given = ridge if ridge_rel is None else ridge_rel
        name = "ridge" if ridge_rel is None else "ridge_rel"
        several = isinstance(given, Sequence | np.ndarray | Tensor) and not isinstance(given, str)
        if isinstance(given, np.ndarray | Tensor):
            several = given.ndim > 0
        entries = list(given) if several else [given]
        for value in entries:
            number = isinstance(value, int | float | np.number | Tensor) and not isinstance(value, bool)
            if not number or not 0 <= float(value) < math.inf:
                raise ConfigError(
                    f"{WHERE}: {name} must be finite and at least 0; got {value!r}. Pass a number, or several."
                )
        if not entries:
            raise ConfigError(f"{WHERE}: {name} must hold a number; got none. Pass a number, or several.")
        return Ridges(values=tuple(map(float, entries)), relative=ridge_rel is not None, single=not several)

    def absolute(self, mean_diagonal: float) -> tuple[float, ...]:
        """What is added to the diagonal."""
        return tuple(value * mean_diagonal for value in self.values) if self.relative else self.values


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A checked kernel, symmetric to the bit."""

    matrix: Tensor
    """float64 [N*C, N*C], or [N, N] where all outputs share it."""
    C: int
    shared: bool
    eps: float
    """Rounding that it came with, relative to its largest eigenvalue."""

    @property
    def N(self) -> int:
        return len(self.matrix) // (1 if self.shared else self.C)

    def columns(self, r: Tensor) -> Tensor:
        """R [N, C] as what the matrix is multiplied with, [N*C, 1] or [N, C]."""
        return r if self.shared else r.reshape(-1, 1)

    @property
    def trace(self) -> float:
        """Of the kernel of all outputs."""
        return float(self.matrix.diagonal().sum()) * (self.C if self.shared else 1)

    def frobenius(self) -> float:
        """Norm of the kernel of all outputs."""
        return float(self.matrix.norm()) * math.sqrt(self.C if self.shared else 1)


def checked_kernel(where: str, K: Array, C: int, *, N: int, shared: bool = False, eps: float | None = None) -> Kernel:
    """K [N*C, N*C] or [N, C, N, C], float32 or float64, symmetric; averaged with its transpose.

    Raises:
        ShapeError: The sizes are not those of the targets.
        DataError: It is of another dtype, not finite or not symmetric.
        NumericsError: Its diagonal has a negative number or is all zero.
    """
    given = _floats(where, "K", K)
    b = 1 if shared else C
    if given.shape not in ((N * b, N * b), (N, b, N, b)):
        raise ShapeError(
            f"{where}: K must be [N*C, N*C] = [{N * b}, {N * b}] or [N, C, N, C], as targets are [{N}, {C}]; got "
            f"{list(given.shape)}. Order rows by sample, then by output."
        )
    matrix = given.double().reshape(N * b, N * b)
    own = torch.finfo(given.dtype).eps
    difference = asymmetry(matrix)
    if not math.isfinite(difference):
        row, column = (int(i) for i in (~matrix.isfinite()).nonzero()[0])
        raise DataError(
            f"{where}: K must be finite; got {float(matrix[row, column])} in row {row} (sample {row // b}), column "
            f"{column}. Remove the sample, or repair the model."
        )
    diagonal = matrix.diagonal()
    if difference > ASYMMETRY_IN_EPS * own * float(diagonal.abs().max()):
        raise DataError(
            f"{where}: K must be symmetric; got a largest |K - K.T| of {difference:.1e} where its diagonal reaches "
            f"{float(diagonal.abs().max()):.1e}. Give (K + K.T) / 2 if the difference is rounding."
        )
    if not (float(diagonal.min()) >= 0 and float(diagonal.max()) > 0):
        raise NumericsError(
            f"{where}: K must be positive semi-definite and not zero; got {float(diagonal.min()):.3g} to "
            f"{float(diagonal.max()):.3g} on its diagonal. Look at what it is made of."
        )
    if difference > 0:
        matrix = (matrix + matrix.mT) / 2
    return Kernel(matrix=matrix, C=C, shared=shared, eps=max(own, eps or own))


def checked_targets(where: str, targets: Array | Mapping[str, Array]) -> tuple[dict[str, Tensor], bool]:
    """Targets by name, float64 [N, C] of one shape, finite; and whether there was one without a name.

    Raises:
        ShapeError: One is not [N, C], or two differ in shape.
        DataError: There is none, one is empty or not finite.
    """
    single = not isinstance(targets, Mapping)
    named: dict[str, Array] = dict(targets) if isinstance(targets, Mapping) else {SINGLE: targets}
    if not named:
        raise DataError(f"{where}: targets must hold at least one; got an empty dict. Pass {{name: [N, C]}}.")
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        what = SINGLE if single else f"targets[{name!r}]"
        P = _floats(where, what, value).double()
        P = P[:, None] if P.ndim == 1 else P
        if P.ndim != 2:
            raise ShapeError(
                f"{where}: {what} must be [N, C]; got {list(P.shape)}. Give a column an output, one-hot for labels."
            )
        if not P.numel():
            raise DataError(f"{where}: {what} must hold a sample and an output; got {list(P.shape)}. Pass some data.")
        first = next(iter(found.values()), P)
        if P.shape != first.shape:
            raise ShapeError(
                f"{where}: all targets must have one shape; got {list(P.shape)} for {name!r} beside "
                f"{list(first.shape)}. Give every target the same samples and classes."
            )
        if not bool(P.isfinite().all()):
            n = int((~P.isfinite()).any(1).nonzero()[0])
            raise DataError(
                f"{where}: {what} must be finite; got {P[n].tolist()} at sample {n}. Remove or repair that sample."
            )
        found[str(name)] = P
    return found, single


def check_noise(rho: float, ridges: Ridges, mean_diagonal: float, eps: float, largest: float) -> None:
    """Refuse a ridge that is below the kernel's rounding.

    Args:
        rho: The smallest.
        ridges: As they were asked for.
        mean_diagonal: Tr(K)/(N C).
        eps: The kernel's.
        largest: Its largest eigenvalue.
    """
    dtype = "float32" if eps > EPS else "float64"
    if rho < (least := NOISE[dtype] * largest):
        name, unit = ("ridge_rel", mean_diagonal) if ridges.relative else ("ridge", 1.0)
        raise NumericsError(
            f"{WHERE}: ridge must be at least {NOISE[dtype]:g} of the largest eigenvalue for a kernel from {dtype}; "
            f"got {rho:.3g} beside {largest:.3g}. Raise {name} to {1.06 * least / unit:.2g}"
            f"{', or use model.double()' if dtype == 'float32' else ''}."
        )


def _floats(where: str, name: str, value: Array) -> Tensor:
    """float32 or float64; integers of lists are numbers, those of tensors would be labels."""
    tensor = as_tensor(where, name, value, read_only=True)[0]
    if isinstance(value, list | tuple) and tensor.dtype == torch.int64:
        tensor = tensor.double()
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"{where}: {name} must be float32 or float64; got {str(tensor.dtype).removeprefix('torch.')}. "
            "Convert it; class labels by torch.nn.functional.one_hot(y, C).double()."
        )
    return tensor
