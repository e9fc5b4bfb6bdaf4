"""Convolution and batch norm of many networks, with the samples innermost: [E, C, H, W, B].

In this layout a row of an image is a run of B numbers. A patch of all samples is copied run by run, the statistics of
a channel are sums over one long row, and a convolution is a product [O, K] x [K, positions * B] whose second factor
needs no transposition.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    def shifts(self) -> tuple[int, int]:
        """A kernel in strides: how many blocks of stride x stride pixels it reaches over."""
        a, b = (-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True))
        return a, b

    @property
    def by_shifts(self) -> bool:
        """Whether :class:`_Shifts` is the cheaper form.

        It computes whole blocks and positions beyond the edge in vain, and its products have C * stride^2 rows: it
        pays where the first is little and the second not. Unfolding writes and folds kernel^2 / stride^2 times the
        input.
        """
        (Ho, Wo), (kh, kw), (sh, sw), (a, b) = self.out, self.kernel, self.stride, self.shifts
        waste = a * sh * b * sw * (Ho + a - 1) * (Wo + b - 1) / (kh * kw * Ho * Wo)
        return self.dilation == (1, 1) and (kh > sh or kw > sw) and waste <= 1.5 and self.channels * sh * sw >= 32


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
    if geometry.kernel == geometry.size and geometry.padding == (0, 0):  # one position: the input is its patch
        return x.flatten(1, 3)
    return _Columns.apply(x, geometry)


class _Shifts(torch.autograd.Function):
    """A convolution with nothing unfolded: one product for each shift of the input, cut into blocks of the stride.

    With the pixels of a stride x stride block as channels the stride is 1, and the input under a kernel's entry is the
    input from a later position on: a view. Positions are counted in rows of the blocks, so each row of the output
    has ``shifts - 1`` positions too many, which are cut off.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        (Ho, Wo), (sh, sw), (a, b), (ph, pw) = geometry.out, geometry.stride, geometry.shifts, geometry.padding
        E, C, H, W, B = x.shape
        O = weight.shape[1]
        Hq, Wq = Ho + a - 1, Wo + b - 1
        blocks = x.new_zeros(E, C, sh, sw, Hq, Wq, B)
        for i in range(sh):
            for j in range(sw):
                source, target = _pixels(i, ph, sh, H, Hq), _pixels(j, pw, sw, W, Wq)
                blocks[:, :, i, j, source.first : source.stop, target.first : target.stop] = x[
                    :, :, source.start :: sh, target.start :: sw
                ][:, :, : source.stop - source.first, : target.stop - target.first]
        kh, kw = geometry.kernel
        whole = F.pad(weight, (0, b * sw - kw, 0, a * sh - kh)).view(E, O, C, a, sh, b, sw)
        cut = whole.permute(3, 5, 0, 1, 2, 4, 6).reshape(a, b, E, O, C * sh * sw)
        flat = blocks.view(E, C * sh * sw, Hq * Wq * B)
        out = x.new_empty(E, O, Ho * Wq * B)
        used = (Ho * Wq - b + 1) * B
        y = out[..., :used]
        for i in range(a):
            for j in range(b):
                start = (i * Wq + j) * B
                torch.baddbmm(y, cut[i, j], flat[..., start : start + used], beta=float(i + j > 0), out=y)
        ctx.save_for_backward(blocks, cut)
        ctx.geometry, ctx.shape = geometry, x.shape
        return out.view(E, O, Ho, Wq, B)[:, :, :, :Wo].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        blocks, cut = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        (Ho, Wo), (sh, sw), (a, b), (ph, pw) = geometry.out, geometry.stride, geometry.shifts, geometry.padding
        E, C, H, W, B = ctx.shape
        O = g.shape[1]
        Hq, Wq = Ho + a - 1, Wo + b - 1
        shifted = g.new_zeros(E, a, b, O, Hq, Wq, B)  # small: blocks are as much fewer than pixels as channels are more
        for i in range(a):
            for j in range(b):
                shifted[:, i, j, :, i : i + Ho, j : j + Wo] = g
        flat = shifted.view(E, a * b * O, Hq * Wq * B)
        S = C * sh * sw
        dweight = torch.bmm(blocks.view(E, S, Hq * Wq * B), flat.mT)  # [E, S, a * b * O]
        dweight = dweight.view(E, C, sh, sw, a, b, O).permute(0, 6, 1, 4, 2, 5, 3)
        dweight = dweight.reshape(E, O, C, a * sh, b * sw)[..., : geometry.kernel[0], : geometry.kernel[1]]
        dblocks = torch.bmm(cut.permute(2, 4, 0, 1, 3).reshape(E, S, a * b * O), flat).view(E, C, sh, sw, Hq, Wq, B)
        dx = g.new_empty(E, C, H, W, B)
        if Hq * sh < H + ph or Wq * sw < W + pw:
            dx.zero_()  # the kernel never reaches the last rows or columns
        for i in range(sh):
            for j in range(sw):
                row, column = _pixels(i, ph, sh, H, Hq), _pixels(j, pw, sw, W, Wq)
                dx[:, :, row.start :: sh, column.start :: sw][
                    :, :, : row.stop - row.first, : column.stop - column.first
                ] = dblocks[:, :, i, j, row.first : row.stop, column.first : column.stop]
        return dx, dweight, None


@dataclass(frozen=True)
class _Span:
    start: int
    """First pixel."""
    first: int
    """Its block."""
    stop: int
    """One past the last block."""


def _pixels(offset: int, padding: int, stride: int, size: int, blocks: int) -> _Span:
    """The pixels that lie at ``offset`` of their blocks, along one axis, the first block starting in the padding."""
    first = max(0, -(-(padding - offset) // stride))
    start = first * stride + offset - padding
    return _Span(start, first, min(blocks, first + max(0, -(-(size - start) // stride))))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """The convolutions of x [E, C, H, W, B] with weight [E, O, C, kh, kw] and bias [E, O], [E, O, Ho, Wo, B]."""
    if geometry.by_shifts:
        y = _Shifts.apply(x, weight, geometry)
        return y if bias is None else y + bias[:, :, None, None, None]
    patches = columns(x, geometry)
    y = affine(weight.flatten(2), patches, bias)
    return y.view(*y.shape[:2], *geometry.out, x.shape[-1])


def affine(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    """weight [E, O, I] x [E, I, L] + bias [E, O]."""
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


def normalize(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of x [E, C, H, W, B], with its mean and variance [E, C]."""
    y, mean, var = _Normalize.apply(x.flatten(2), weight, bias, eps, relu)
    return y.view(x.shape), mean, var
