"""The least-squares problem that a network is near its weights, by features of its samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from infotorch.blocks.features import Features, features
from infotorch.capture import capture
from infotorch.errors import NumericsError
from infotorch.measures.cross_entropy import newton_target, probability_factor
from infotorch.task import Task

__all__ = ["Rows", "Sketching", "too_narrow"]

Loss = Literal["mse", "cross_entropy_ggn"]
ENOUGH = 2.0
"""A sketch of fewer numbers than this times the directions that training uses changes the problem."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Samples of a ridge regression: :class:`infotorch.measures.linearized.Linearized` by features."""

    features: Tensor
    """[n, b, k], where b is C, or C - 1 for cross-entropy; or [n, k] where all outputs share them."""
    residual: Tensor
    """What is regressed on, [n, C] or [n, C - 1], float64."""
    target: Tensor
    """What the outputs should be, [n, C]."""
    outputs: Callable[[Tensor], Tensor]
    """From J_n d [n, b] to outputs comparable with ``target``, [n, C]."""
    f0: Tensor
    """The network's outputs at its weights, [n, C], float64."""
    weighted: bool
    """Whether what is regressed is R^T f of the Gauss-Newton model of cross-entropy, not f."""
    self_scores: Mapping[str, Tensor] = field(default_factory=dict)
    """Columns [n] beside unique information, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketching:
    """How samples become features, and features rows of the problem.

    Features follow from inputs alone, so that they serve all labels, times and ridges.
    """

    task: Task
    """Model, and the parameters that train."""
    loss: Loss
    dim: int | None
    """Size of the sketch; None, or at least as many as parameters: no sketch."""
    kind: Literal["sjlt", "kron"]
    seed: int
    shared: bool = False
    """The task is a last layer, whose inputs are its features: exact, without a sketch."""

    @property
    def num_parameters(self) -> int:
        """P."""
        return sum(p.numel() for p in self.task.parameters().values())

    @property
    def width(self) -> int:
        """Numbers of a feature, k."""
        if self.shared:
            return sum(p[0].numel() for p in self.task.parameters().values())
        return self.num_parameters if self.dim is None else min(self.dim, self.num_parameters)

    @property
    def is_exact(self) -> bool:
        """Whether nothing is sketched."""
        return self.shared or self.dim is None or self.dim >= self.num_parameters

    def key(self) -> dict[str, Any]:
        """What features follow from beside the network and the inputs, as JSON."""
        if self.is_exact:
            return {"sketch": "shared features" if self.shared else "none"}
        return {"sketch": self.kind, "dim": self.dim, "seed": self.seed}

    def features(self, x: Any, memory_limit: int | None = None) -> Features:
        """Of a batch.

        Raises:
            NumericsError: A gradient or an output is not finite; the text names the first sample.
        """
        found = self._features(x, memory_limit)
        for name, values in (("outputs", found.outputs), ("gradients of the outputs", found.rows)):
            finite = values.flatten(1).isfinite().all(1)
            if not finite.all():
                raise NumericsError(
                    f"UniqueInformation: {name} must be finite; got others for sample {int((~finite).nonzero()[0])}. "
                    "Look at this sample's input and at the model's weights."
                )
        return found

    def _features(self, x: Any, memory_limit: int | None) -> Features:
        if self.shared:
            with capture(self.task, x, seeds="logits") as cap:
                (pair,) = cap.pairs.values()
                inputs = pair.a[:, 0]
                return Features(rows=pad(inputs, (0, int(pair.bias)), value=1.0), outputs=cap.outputs)
        return features(self.task, x, dim=self.dim, seed=self.seed, kind=self.kind, memory_limit=memory_limit)

    def rows(self, found: Features, y: Tensor) -> Rows:
        f0 = found.outputs.to(torch.float64)
        target = self.task.residual_targets(y, f0.shape[1])
        if self.loss == "mse":
            return Rows(
                features=found.rows, residual=target - f0, target=target, outputs=lambda change: f0 + change, f0=f0,
                weighted=False,
            )  # fmt: skip
        newton = newton_target(f0, y)
        return Rows(
            features=_weighted(newton.factor, found.rows),
            residual=newton.residual,
            target=target,
            outputs=lambda change: (f0 + newton.logits(change)).softmax(1),
            f0=f0,
            weighted=True,
        )

    def test_rows(self, found: Features) -> Tensor:
        """[M b, k]: products with a change of the weights are changes of what functions are compared by."""
        if self.loss == "mse":
            return found.rows.flatten(0, -2)
        R = probability_factor(found.outputs.to(torch.float64), "logits_test")
        return _weighted(R, found.rows).flatten(0, 1)


def too_narrow(width: int, directions: float) -> str | None:
    """What a reader must know of a sketch of so many numbers, where training uses so many directions of them."""
    if width >= ENOUGH * directions:
        return None
    return (
        f"The sketch has {width:,} numbers, and training uses at least {directions:,.0f} directions: with fewer than "
        f"{ENOUGH:g} numbers a direction the scores are of another problem. Raise dim."
    )


def _weighted(R: Tensor, rows: Tensor) -> Tensor:
    """R^T phi [n, C - 1, k] in float64: R underflows float32 where the network is sure of its answer."""
    return torch.einsum("ncd,nck->ndk", R, rows.to(torch.float64))
