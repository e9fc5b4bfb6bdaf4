"""The rows G = R^T J of a Gauss-Newton matrix G^T G as an operator: never held, captured batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.directional import jvp, vjp
from infotorch.blocks.kernel import BATCH_SIZE
from infotorch.blocks.layout import flattened
from infotorch.blocks.weights import weights_at
from infotorch.capture import Capture, capture
from infotorch.capture.run import Fallback
from infotorch.task import Task, select

__all__ = ["Rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """G [N*K, P] at fixed weights."""

    task: Task
    x: Any
    root: Tensor
    """R, [N, C, K]."""
    w: Tensor
    """The weights of the Jacobian, [P]: the model may have others by now."""
    fallback: Fallback | None

    def times(self, V: Tensor) -> Tensor:
        """G V, float64 [N*K, J], for V [P, J]."""
        with torch.no_grad(), weights_at(self.task, self.w):
            return torch.cat([jvp(cap, V.mT).double().flatten(0, 1) for _, cap in self._captures()])

    def back(self, U: Tensor) -> Tensor:
        """G^T U, float64 [P, J], for U [N*K, J]."""
        N, _, K = self.root.shape
        u = U.mT.reshape(-1, N, K)
        total = U.new_zeros(len(u), len(self.w))
        with torch.no_grad(), weights_at(self.task, self.w):
            for batch, cap in self._captures():
                total += flattened(vjp(cap, u[:, batch]), self.task.shapes)
        return total.mT

    def _captures(self) -> Iterator[tuple[slice, Capture]]:
        for start in range(0, len(self.root), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            few = select(self.x, batch)
            seeds = self.root[batch].permute(2, 0, 1)  # [K, n, C]
            shape = self.task.outputs(few).shape
            with capture(self.task, (few, None), seeds=seeds.reshape(-1, *shape), fallback=self.fallback) as cap:
                yield batch, cap
