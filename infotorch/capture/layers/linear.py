"""Linear: inputs [N, *T, I], outputs [N, *T, O]."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from infotorch.capture.layers.rule import Rule
from infotorch.capture.pair import Factors

__all__ = ["Linear", "positions"]


def positions(grad: Tensor) -> Tensor:
    """The pair's b [N, K, T, O] of a gradient [N, *T, K, O], as a view where the strides allow."""
    N, K, O = grad.shape[0], *grad.shape[-2:]
    return grad.reshape(N, grad.shape[1:-2].numel(), K, O).transpose(1, 2)


class Linear(Rule):
    """nn.Linear."""

    seed_dim: ClassVar[int] = -2

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        return x.dim() > 1

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        a = [x.reshape(x.shape[0], x.shape[1:-1].numel(), x.shape[-1]) for x in inputs]  # [N, T, I]
        b = [positions(grad) for grad in grads]  # [N, K, T, O]
        return Factors(a=a[0], b=b[0]) if len(a) == 1 else Factors(a=torch.cat(a, 1), b=torch.cat(b, 2))

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        return positions(grad).sum(2)
