"""Transposed convolutions: what a convolution does to its input, this does to the gradient of its output."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.capture.layers.conv import windows
from infotorch.capture.layers.rule import Product
from infotorch.capture.pair import Factors

__all__ = ["ConvTranspose"]

ConvTransposeNd = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


class ConvTranspose(Product):
    """nn.ConvTranspose1d, 2d, 3d with any stride, padding, output padding, dilation and groups.

    The weight [I, O / groups, *kernel] has the gradient sum_t x[i, t] patch[o, t] with patches of the output's
    gradient: a and b change places. Several seeds have as many sets of patches, which no a holds; then it is formed.
    """

    folds_bias: ClassVar[bool] = False

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        assert isinstance(module, ConvTransposeNd)
        return x.dim() == len(module.kernel_size) + 2

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors | Tensor:
        assert isinstance(module, ConvTransposeNd)
        g, D = module.groups, len(module.kernel_size)
        if len(inputs) == 1 and grads[0].shape[1] == 1:
            x = inputs[0].flatten(2).unflatten(1, (g, -1)).flatten(0, 1).mT  # [N * g, T, I]
            return Factors(a=_patches(module, inputs[0], grads[0][:, 0]), b=x[:, None], t_dims=D, groups=g)
        return sum((_formed(module, x, grad) for x, grad in zip(inputs, grads, strict=True)), torch.zeros(()))

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        return grad.flatten(3).sum(3)


def _patches(module: ConvTransposeNd, x: Tensor, grad: Tensor) -> Tensor:
    """[N * groups, *T, O / groups, *kernel], a view of the padded gradient [N, O, *sizes]."""
    assert not isinstance(module.padding, str)  # torch has no words for it here
    padding = [width for width in reversed(module.padding) for _ in range(2)]
    grad = F.pad(grad, padding) if any(padding) else grad
    return windows(module, grad, x.shape[2:])


def _formed(module: ConvTransposeNd, x: Tensor, grad: Tensor) -> Tensor:
    """[N, K, I, O / groups, *kernel], a seed at a time."""
    N, g = len(x), module.groups
    rows = x.flatten(2).unflatten(1, (g, -1)).flatten(0, 1)  # [N * g, I / g, T]
    formed = []
    for k in range(grad.shape[1]):
        patches = _patches(module, x, grad[:, k])
        G = rows @ patches.reshape(N * g, rows.shape[2], module.weight[0].numel())
        formed.append(G.view(N, *module.weight.shape))
    return torch.stack(formed, 1)
