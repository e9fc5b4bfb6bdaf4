"""Convolutions: the patches of a padded input are a strided view of it, so nothing is unfolded."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.capture.layers.rule import Product
from infotorch.capture.pair import Factors

__all__ = ["Conv", "ConvNd", "windows"]

ConvNd = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Conv(Product):
    """nn.Conv1d, 2d, 3d with any stride, padding, padding mode, dilation and groups."""

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        assert isinstance(module, ConvNd)
        return x.dim() == len(module.kernel_size) + 2

    def ready(self, module: nn.Module, x: Tensor) -> tuple[Product, Tensor]:
        assert isinstance(module, ConvNd)
        return PADDED, pad(module, x)

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        assert isinstance(module, ConvNd)
        padded = [x if self is PADDED else pad(module, x) for x in inputs]  # [N, channels, *sizes]
        if len(padded) > 1:
            padded, grads = _one_size(padded), _one_size(grads)
        x = torch.stack(padded, 2) if len(padded) > 1 else padded[0]  # [N, channels, (calls,) *sizes]
        b = torch.stack(list(grads), 3) if len(padded) > 1 else grads[0]  # [N, K, out_channels, (calls,) *T]
        g = module.groups
        b = b.flatten(3).unflatten(2, (g, -1)).transpose(1, 2).flatten(0, 1).mT  # [N * g, K, T, O]
        return Factors(a=windows(module, x, _outputs(module, x)), b=b, t_dims=x.dim() - 2, groups=g)

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        return grad.flatten(3).sum(3)


PADDED = Conv()
"""Of inputs that have been padded."""


def pad(module: ConvNd, x: Tensor) -> Tensor:
    """The input [N, channels, *sizes] as the kernel sees it, padding included."""
    if module.padding == "same":
        totals = [dilation * (kernel - 1) for kernel, dilation in zip(module.kernel_size, module.dilation, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(0, 0) if isinstance(width, str) else (width, width) for width in module.padding]
    widths = [width for side in reversed(sides) for width in side]  # F.pad counts from the last axis
    if not any(widths):
        return x
    return F.pad(x, widths, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)


def windows(module: Any, x: Tensor, outputs: Sequence[int]) -> Tensor:
    """Patches [N * groups, (calls,) *T, channels / groups, *kernel] of x [N, channels, (calls,) *sizes], a view."""
    D, g = len(module.kernel_size), module.groups
    if g > 1:
        x = x.contiguous()  # so that N and groups are one axis
    steps = x.stride()[-D:]
    channels = x.shape[1] // g
    calls = range(2, x.dim() - D)
    shape = [len(x) * g, *(x.shape[d] for d in calls), *outputs, channels, *module.kernel_size]
    strides = [
        channels * x.stride(1) if g > 1 else x.stride(0),
        *(x.stride(d) for d in calls),
        *map(math.prod, zip(steps, module.stride, strict=True)),
        x.stride(1),
        *map(math.prod, zip(steps, module.dilation, strict=True)),
    ]
    return x.as_strided(shape, strides, x.storage_offset())


def _outputs(module: ConvNd, x: Tensor) -> list[int]:
    """How many patches each axis of a padded input has."""
    D = len(module.kernel_size)
    return [
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, dilation, stride in zip(
            x.shape[-D:], module.kernel_size, module.dilation, module.stride, strict=True
        )
    ]


def _one_size(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Zeros appended until all sizes past the first two agree: a zero in b leaves out what its patch holds."""
    largest = [max(sizes) for sizes in zip(*(t.shape[2:] for t in tensors), strict=True)]
    grown = []
    for t in tensors:
        missing = [size - have for size, have in zip(largest, t.shape[2:], strict=True)]
        grown.append(F.pad(t, [width for m in reversed(missing) for width in (0, m)]))
    return grown
