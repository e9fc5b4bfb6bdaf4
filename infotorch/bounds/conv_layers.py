"""Convolution and batch norm of many networks, with the samples innermost: [E, C, H, W, B].

In this layout a pixel is a run of B numbers: whole vectors of samples meet an entry of a kernel, so that a convolution
needs nothing unfolded, and the statistics of a channel are sums over one long row.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from infotorch import _C

__all__ = ["Geometry", "columns", "convolve", "normalize"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a convolution; pairs are (height, width)."""

    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        """Positions of the output."""
        H, W = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )  # fmt: skip
        return H, W

    @property
    def is_product(self) -> bool:
        """Whether the input is its only patch."""
        return self.kernel == self.size and self.padding == (0, 0) and self.dilation == (1, 1)

    def sizes(self, E: int, O: int, B: int) -> tuple[int, ...]:
        """All sizes in the kernels' order."""
        pairs = (self.kernel, self.stride, self.padding, self.dilation)
        return (E, self.channels, *self.size, B, O, *self.out, *(size for pair in pairs for size in pair))


def _padded(x: Tensor, geometry: Geometry) -> Tensor:
    h, w = geometry.padding
    return F.pad(x, (0, 0, w, w, h, h)) if h or w else x


class _Columns(torch.autograd.Function):
    """The patches of all positions, [E, C * kh * kw, Ho * Wo * B]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.geometry, ctx.shape = geometry, x.shape
        (Ho, Wo), (kh, kw), (sh, sw), (dh, dw) = geometry.out, geometry.kernel, geometry.stride, geometry.dilation
        padded = _padded(x, geometry).contiguous()
        E, C, _, _, B = padded.shape
        e, c, h, w, _ = padded.stride()
        view = padded.as_strided((E, C, kh, kw, Ho, Wo, B), (e, c, h * dh, w * dw, h * sh, w * sw, 1))
        return view.reshape(E, C * kh * kw, Ho * Wo * B)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        geometry: Geometry = ctx.geometry
        (Ho, Wo), (kh, kw), (sh, sw), (dh, dw) = geometry.out, geometry.kernel, geometry.stride, geometry.dilation
        (ph, pw), (E, C, H, W, B) = geometry.padding, ctx.shape
        patches = g.view(E, C, kh, kw, Ho, Wo, B)
        padded = g.new_zeros(E, C, H + 2 * ph, W + 2 * pw, B)
        for i in range(kh):
            for j in range(kw):
                top, left = i * dh, j * dw
                padded[:, :, top : top + sh * (Ho - 1) + 1 : sh, left : left + sw * (Wo - 1) + 1 : sw] += patches[
                    :, :, i, j
                ]
        return padded[:, :, ph : ph + H, pw : pw + W], None


def columns(x: Tensor, geometry: Geometry) -> Tensor:
    """The patches of x [E, C, H, W, B] under the kernel, [E, C * kh * kw, Ho * Wo * B]."""
    if geometry.is_product:
        return x.flatten(1, 3)
    return _Columns.apply(x, geometry)


class _Kernel(torch.autograd.Function):
    """A convolution with nothing unfolded, by the kernels of csrc/cpu/member_conv.cpp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        (E, _, _, _, B), O = x.shape, weight.shape[1]
        y = x.new_empty(E, O, *geometry.out, B)
        _C.member_conv(geometry.sizes(E, O, B), x.detach().numpy(), weight.detach().numpy(), y.numpy())
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = (saved.detach() for saved in ctx.saved_tensors)
        (E, _, _, _, B), O = x.shape, weight.shape[1]
        sizes = ctx.geometry.sizes(E, O, B)
        g, dx = g.contiguous(), None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _C.member_conv_dx(sizes, g.numpy(), weight.numpy(), dx.numpy())
        dweight = torch.empty_like(weight)
        _C.member_conv_dw(sizes, x.numpy(), g.numpy(), dweight.numpy())
        return dx, dweight, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The convolutions of x [E, C, H, W, B] with weight [E, O, C, kh, kw] and bias [E, O], [E, O, Ho, Wo, B]."""
    if x.is_cpu and not geometry.is_product:
        y = _Kernel.apply(x, weight, geometry)
        return y if bias is None else y + bias[:, :, None, None, None]
    patches = columns(x, geometry)
    y = affine(weight.flatten(2), patches, bias)
    return y.view(*y.shape[:2], *geometry.out, x.shape[-1])


def affine(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    """The product of weight [E, O, I] and x [E, I, L], plus bias [E, O]."""
    return torch.bmm(weight, x) if bias is None else torch.baddbmm(bias[..., None], weight, x)


class _Normalize(torch.autograd.Function):
    """Each row of x [E, C, L] by its own mean and variance, then weight and bias [E, C], and ReLU where asked."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(-1)
        hat = x - mean[..., None]
        var = torch.linalg.vector_norm(hat, dim=-1).square_().div_(x.shape[-1])
        scale = (var + eps).rsqrt_()
        hat.mul_(scale[..., None])
        y = torch.addcmul(bias[..., None], hat, weight[..., None])
        if relu:
            y.relu_()
        ctx.relu = relu
        ctx.save_for_backward(hat, scale, weight, y)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        hat, scale, weight, y = ctx.saved_tensors
        if ctx.relu:
            g = torch.ops.aten.threshold_backward(g, y, 0)
        L = g.shape[-1]
        dbias, dweight = g.sum(-1), (g * hat).sum(-1)
        dx = torch.addcmul(g, hat, dweight[..., None] / -L).sub_(dbias[..., None] / L).mul_((scale * weight)[..., None])
        return dx, dweight, dbias, None, None


def normalize(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of x [E, C, H, W, B], with its mean and variance [E, C]."""
    y, mean, var = _Normalize.apply(x.flatten(2), weight, bias, eps, relu)
    return y.view(x.shape), mean, var
