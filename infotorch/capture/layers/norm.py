"""LayerNorm, and BatchNorm in eval mode: the gradients of scale and shift are small and formed at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.capture.layers.rule import Rule

__all__ = ["Norm", "batch_normalized", "layer_normalized"]


def layer_normalized(module: nn.LayerNorm, x: Tensor) -> tuple[Tensor, int]:
    """The input without scale and shift, and the first axis that they act on."""
    return F.layer_norm(x, module.normalized_shape, eps=module.eps), x.dim() - len(module.normalized_shape)


def batch_normalized(module: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, int]:
    """The input by the stored statistics, and its channel axis."""
    return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps), 1


@dataclass(frozen=True)
class Norm(Rule):
    """A scale and a shift on normalized inputs: sum_t xhat b and sum_t b."""

    normalized: Callable[[Any, Tensor], tuple[Tensor, int]]

    folds_bias: ClassVar[bool] = False

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        return self.normalized(module, x)[1] > 0

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
        first = 1 if isinstance(module, nn.modules.batchnorm._BatchNorm) else grad.dim() - 1 - shift.dim()
        return _summed(shift, grad, first)


def _summed(parameter: Any, grad: Tensor, first: int) -> Tensor:
    """Gradients [N, K, ...] summed over all axes but N, K and the parameter's, which begin at ``first`` without K."""
    begin, end = first + 1, first + 1 + parameter.dim()
    rest = [dim for dim in range(2, grad.dim()) if not begin <= dim < end]
    return grad.sum(rest) if rest else grad
