"""Linear: inputs [N, *T, I], outputs [N, *T, O]."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infotorch.capture.layers.rule import Product, Use
from infotorch.capture.pair import Factors

__all__ = ["Bilinear", "Linear", "SequenceLinear", "TransposedLinear", "positions"]


def positions(grad: Tensor) -> Tensor:
    """The pair's b [N, K, T, O] of a gradient [N, *T, K, O], as a view where the strides allow."""
    N, K, O = grad.shape[0], *grad.shape[-2:]
    return grad.reshape(N, grad.shape[1:-2].numel(), K, O).transpose(1, 2)


class Linear(Product):
    """nn.Linear."""

    seed_dim: ClassVar[int] = -2
    any_axis: ClassVar[bool] = True

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        return x.dim() > 1

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        a = [x.reshape(x.shape[0], x.shape[1:-1].numel(), x.shape[-1]) for x in inputs]  # [N, T, I]
        b = [positions(grad) for grad in grads]  # [N, K, T, O]
        return Factors(a=a[0], b=b[0]) if len(a) == 1 else Factors(a=torch.cat(a, 1), b=torch.cat(b, 2))

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        return positions(grad).sum(2)


class SequenceLinear(Linear):
    """A product within a layer that mixes all axes but the first: samples on another one would be coupled."""

    any_axis: ClassVar[bool] = False


class TransposedLinear(Linear):
    """The Conv1D of transformers: a Linear whose weight is [I, O]."""

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        return replace(super().weight(module, inputs, grads), transposed=True)


class Bilinear(Linear):
    """nn.Bilinear: linear in the outer products of its two inputs."""

    any_axis: ClassVar[bool] = False

    def uses(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Sequence[Use]:
        left, right = (x.detach() for x in inputs)
        a = (left[..., :, None] * right[..., None, :]).flatten(-2)  # [N, *T, I1 * I2]
        return (Use(a=a, params=("weight", "bias"), output=output, kind=self),)
