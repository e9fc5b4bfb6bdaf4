"""What is left of a batch: its pairs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.capture.pair import LayerPair
from infotorch.capture.plan import CapturePlan

__all__ = ["Capture"]


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The pairs of one batch. A context manager: leaving it lets go of them."""

    pairs: dict[str, LayerPair]
    """By module path, or by parameter name where one stands alone; in parameter order."""
    outputs: Tensor
    """[N, C], or as the model gives them; detached."""
    losses: Tensor | None
    """[N], detached; None for seeds."""
    shapes: dict[str, torch.Size]
    """Every selected parameter, in order."""
    unused: tuple[str, ...]
    """Selected parameters that the outputs do not depend on: their gradient is zero."""
    seeds: int | None
    """K; None for a loss, whose pairs have no axis of seeds."""
    asked: str | tuple[str, int, int] | None
    """What was asked for as seeds; ``"tensor"`` for a tensor of them."""
    plan: CapturePlan
    """What was done beside the plain way."""

    @property
    def N(self) -> int:
        return len(self.outputs)

    @property
    def C(self) -> int:
        return self.outputs.shape[1:].numel()

    @property
    def K(self) -> int:
        return self.seeds or 1

    @property
    def P(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shapes)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector [P]."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            slices[name] = slice(start, start + shape.numel())
            start += shape.numel()
        return slices

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The dtype of each parameter's gradients: the forward's, float32 for 16 bits."""
        own = torch.promote_types(self.outputs.dtype, torch.float32)
        known = {name: pair.b.dtype for pair in self.pairs.values() for name in pair.shapes}
        return {name: known.get(name, own) for name in self.shapes}

    @property
    def finite(self) -> Tensor:
        """[N], whether all that a sample's gradients are made of is finite."""
        finite = torch.ones(self.N, dtype=torch.bool, device=self.outputs.device)
        for pair in self.pairs.values():
            for side in (pair.a, pair.b):
                if side.is_floating_point() and side.numel():
                    rest = [*range(1, side.dim())]
                    bounded = side.amax(rest).isfinite() & side.amin(rest).isfinite()  # [N * groups]
                    finite &= bounded.view(self.N, -1).all(1)
        return finite

    @property
    def nbytes(self) -> int:
        return sum(pair.nbytes() for pair in self.pairs.values())

    def close(self) -> None:
        """Let go of the pairs."""
        self.pairs.clear()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
