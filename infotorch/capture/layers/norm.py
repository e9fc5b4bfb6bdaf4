"""Normalizations and what else scales its input: the gradients of scale and shift are small and formed at once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.capture.layers.rule import Product

__all__ = [
    "InstanceNorm",
    "LastNorm",
    "Norm",
    "ScaledNorm",
    "batch_normalized",
    "group_normalized",
    "layer_normalized",
    "negative_part",
    "rms_normalized",
]


def layer_normalized(module: nn.LayerNorm, x: Tensor) -> tuple[Tensor, int]:
    """The input without scale and shift, and the first axis that they act on."""
    return F.layer_norm(x, module.normalized_shape, eps=module.eps), x.dim() - len(module.normalized_shape)


def rms_normalized(module: nn.RMSNorm, x: Tensor) -> tuple[Tensor, int]:
    """The input over its root mean square, and the first axis of the scale."""
    return F.rms_norm(x, module.normalized_shape, eps=module.eps), x.dim() - len(module.normalized_shape)


def batch_normalized(module: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, int]:
    """The input by the stored statistics, and its channel axis."""
    return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps), 1


def group_normalized(module: nn.GroupNorm, x: Tensor) -> tuple[Tensor, int]:
    """The input by its groups' statistics, and its channel axis."""
    return F.group_norm(x, module.num_groups, eps=module.eps), 1


def instance_normalized(module: Any, x: Tensor) -> tuple[Tensor, int]:
    """The input by its own statistics, or the stored ones; and its channel axis."""
    own = module.running_mean is None
    return F.instance_norm(x, module.running_mean, module.running_var, use_input_stats=own, eps=module.eps), 1


def negative_part(module: nn.PReLU, x: Tensor) -> tuple[Tensor, int]:
    """What a PReLU's slope multiplies, and its channel axis."""
    return x.clamp(max=0), 1


@dataclass(frozen=True)
class Norm(Product):
    """A scale and a shift on normalized inputs: sum_t xhat b and sum_t b."""

    normalized: Callable[[Any, Tensor], tuple[Tensor, int]]

    folds_bias: ClassVar[bool] = False
    any_axis: ClassVar[bool] = False

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        return x.dim() > 1

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        total = None
        for x, grad in zip(inputs, grads, strict=True):
            xhat, first = self.normalized(module, x)
            part = _summed(module.weight, grad * xhat[:, None], first)
            total = part if total is None else total + part
        assert total is not None
        return total

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        shift: Any = module.bias
        first = grad.dim() - 1 - shift.dim() if isinstance(module, nn.LayerNorm) else 1
        return _summed(shift, grad, first)


class InstanceNorm(Norm):
    """One that takes an input without samples too."""

    def __init__(self) -> None:
        super().__init__(instance_normalized)

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        D = next(D for kind, D in _INSTANCE_NORMS.items() if isinstance(module, kind))
        return x.dim() == D + 2


_INSTANCE_NORMS = {nn.InstanceNorm1d: 1, nn.InstanceNorm2d: 2, nn.InstanceNorm3d: 3}


class LastNorm(Norm):
    """One whose scale acts on the last axes, so that samples may lie on any axis before them."""

    any_axis: ClassVar[bool] = True

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        scale: Any = module.weight if module.weight is not None else module.bias
        return x.dim() > scale.dim()


class ScaledNorm(LastNorm):
    """A foreign normalization by one weight: what the weight multiplies is the module at 1 less the module at 0."""

    def __init__(self) -> None:
        super().__init__(_slope)

    def applies(self, module: nn.Module) -> bool:
        if [*module._parameters] != ["weight"]:
            return False
        kind = type(module)
        if kind not in _LINEAR:
            _LINEAR[kind] = _is_linear(module)
        return _LINEAR[kind]


_LINEAR: WeakKeyDictionary[type[nn.Module], bool] = WeakKeyDictionary()
"""Classes of foreign normalizations by one weight, and whether it multiplies what has none."""


def _at(module: Any, weight: Tensor, x: Tensor) -> Tensor:
    """The module's output with another weight, without its hooks."""
    twin = copy.copy(module)
    twin.__dict__["_parameters"] = {"weight": weight}
    result = type(module).forward(twin, x)
    assert isinstance(result, Tensor)
    return result


@torch.no_grad()
def _slope(module: Any, x: Tensor) -> tuple[Tensor, int]:
    weight = module.weight.to(x.dtype)
    xhat = _at(module, torch.ones_like(weight), x) - _at(module, torch.zeros_like(weight), x)
    return xhat, x.dim() - weight.dim()


@torch.no_grad()
def _is_linear(module: Any) -> bool:
    """Elementwise and linear, at a weight and an input drawn for it."""
    generator = torch.Generator().manual_seed(0)
    weight, other, *x = torch.randn(5, *module.weight.shape, dtype=torch.float64, generator=generator)
    inputs = torch.stack(x).to(module.weight)
    zero = _at(module, torch.zeros_like(module.weight), inputs)
    slope = _slope(module, inputs)[0]
    for w in (weight.to(module.weight), other.to(module.weight)):
        got, want = _at(module, w, inputs), zero + w * slope
        if got.shape != want.shape or not torch.allclose(got, want, rtol=1e-2 if got.dtype.itemsize < 4 else 1e-4):
            return False
    return True


def _summed(parameter: Any, grad: Tensor, first: int) -> Tensor:
    """Gradients [N, K, ...] summed over all axes but N, K and the parameter's, which begin at ``first`` without K."""
    if parameter.numel() == 1:
        return grad.flatten(2).sum(2).view(*grad.shape[:2], *parameter.shape)
    begin, end = first + 1, first + 1 + parameter.dim()
    rest = [dim for dim in range(2, grad.dim()) if not begin <= dim < end]
    return grad.sum(rest) if rest else grad
