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

__all__ = ["Geometry", "Spare", "affine", "columns", "columns_and_ones", "convolve", "normalize", "plain_normalize"]


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


def _unfolded(x: Tensor, geometry: Geometry) -> Tensor:
    """The patches of all positions, a view [E, C, kh, kw, Ho, Wo, B] of the padded input."""
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    padded = _padded(x, geometry).contiguous()
    E, C, _, _, B = padded.shape
    e, c, h, w, _ = padded.stride()
    shape = (E, C, *geometry.kernel, *geometry.out, B)
    return padded.as_strided(shape, (e, c, h * dh, w * dw, h * sh, w * sw, 1))


class _Columns(torch.autograd.Function):
    """The patches of all positions, [E, C * kh * kw, Ho * Wo * B]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.geometry, ctx.shape = geometry, x.shape
        return _unfolded(x, geometry).flatten(4).flatten(1, 3)

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


def columns_and_ones(x: Tensor, geometry: Geometry) -> Tensor:
    """The columns with a last row of ones, [E, C * kh * kw + 1, Ho, Wo, B]; they have no gradient."""
    view = _unfolded(x, geometry)
    E, C, kh, kw, *place = view.shape
    found = view.new_empty(E, C * kh * kw + 1, *place)
    found[:, :-1].unflatten(1, (C, kh, kw)).copy_(view)
    found[:, -1] = 1
    return found


class Spare:
    """Memory of a layer's last step for its next one: pages new from the system cost about as much as a product."""

    def __init__(self) -> None:
        self._held: dict[tuple[Any, ...], Tensor] = {}

    def like(self, name: str, of: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What ``name`` was at the last step, if it had this shape; no tensor made from it may be alive."""
        key = name, tuple(shape)
        if key not in self._held:
            self._held[key] = torch.empty(shape, dtype=of.dtype)
        return self._held[key].detach()


class _Kernel(torch.autograd.Function):
    """A convolution with nothing unfolded, and ReLU where asked, by the kernels of csrc/cpu/member_conv.cpp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry, relu: bool, spare: Spare) -> Tensor:
        x, weight = x.detach().contiguous(), weight.detach().contiguous()
        (E, _, _, _, B), O = x.shape, weight.shape[1]
        y = spare.like("y", x, (E, O, *geometry.out, B))
        _C.member_conv(geometry.sizes(E, O, B), x.numpy(), weight.numpy(), y.numpy(), relu)
        ctx.save_for_backward(x, weight, *([y] if relu else []))
        ctx.geometry, ctx.spare = geometry, spare
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        x, weight, *relu = ctx.saved_tensors
        (E, _, _, _, B), O = x.shape, weight.shape[1]
        sizes, g = ctx.geometry.sizes(E, O, B), g.contiguous()
        dweight, dx = torch.empty_like(weight), None
        if ctx.needs_input_grad[0]:
            assert not relu  # dx takes g as it is
            dx = ctx.spare.like("dx", x, x.shape)
            _C.member_conv_dx(sizes, g.numpy(), weight.numpy(), dx.numpy())
        _C.member_conv_dw(sizes, x.numpy(), g.numpy(), dweight.numpy(), *(y.numpy() for y in relu))
        return dx, dweight, None, None, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, spare: Spare | None = None) -> Tensor:
    """The convolutions of x [E, C, H, W, B] with weight [E, O, C, kh, kw] and bias [E, O], [E, O, Ho, Wo, B]."""
    if x.is_cpu and not geometry.is_product:
        y = _Kernel.apply(x, weight, geometry, False, spare or Spare())
        return y if bias is None else y + bias[:, :, None, None, None]
    patches = columns(x, geometry)
    y = affine(weight.flatten(2), patches, bias)
    return y.view(*y.shape[:2], *geometry.out, x.shape[-1])


def rectified(weight: Tensor, x: Tensor, spare: Spare | None = None) -> Tensor:
    """The positive part of the product of weight [E, O, I] and x [E, I, H, W, B], which has no gradient."""
    if not x.is_cpu:
        return torch.bmm(weight, x.flatten(2)).view(*weight.shape[:2], *x.shape[2:]).relu()
    I, H = x.shape[1:3]
    one = (1, 1)
    geometry = Geometry(channels=I, size=(H, 1), kernel=one, stride=one, padding=(0, 0), dilation=one)
    y = _Kernel.apply(x.flatten(3)[..., None, :], weight[..., None, None], geometry, True, spare or Spare())
    return y.view(*y.shape[:3], *x.shape[3:])  # a row of pixels did as a row of samples


def affine(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    """The product of weight [E, O, I] and x [E, I, L], plus bias [E, O]."""
    return torch.bmm(weight, x) if bias is None else torch.baddbmm(bias[..., None], weight, x)


class _Normalize(torch.autograd.Function):
    """``plain_normalize`` by the kernels of csrc/cpu/member_norm.cpp."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool, spare: Spare
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = [a.detach().contiguous() for a in (x.flatten(0, 1), weight.flatten(), bias.flatten())]
        y, mean, var = spare.like("y", x, x.shape), torch.empty_like(rows[1]), torch.empty_like(rows[1])
        _C.member_norm(*(a.numpy() for a in (*rows, y.flatten(0, 1), mean, var)), eps=eps, relu=relu)
        ctx.options, ctx.spare = {"eps": eps, "relu": relu}, spare
        ctx.save_for_backward(*rows, mean, var)
        mean, var = (a.view(weight.shape) for a in (mean, var))
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        dx = ctx.spare.like("dx", g, g.shape)
        dweight, dbias = torch.empty(2, *g.shape[:2], dtype=g.dtype)
        rows = (g.contiguous().flatten(0, 1), dx.flatten(0, 1), dweight.flatten(), dbias.flatten())
        _C.member_norm_dx(*(a.numpy() for a in (*saved, *rows)), **ctx.options)
        return dx, dweight, dbias, None, None, None


def plain_normalize(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row of x [E, C, L] by its own mean and variance, then weight and bias [E, C], and ReLU where asked."""
    var, mean = torch.var_mean(x, -1, correction=0)
    scale = weight * (var + eps).rsqrt()
    y = torch.addcmul(bias[..., None], x - mean[..., None], scale[..., None])
    return y.relu() if relu else y, mean.detach(), var.detach()


def normalize(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, relu: bool, spare: Spare | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of x [E, C, H, W, B], with its mean and variance [E, C]."""
    rows = x.flatten(2)
    if x.is_cpu:
        y, mean, var = _Normalize.apply(rows, weight, bias, eps, relu, spare or Spare())
    else:
        y, mean, var = plain_normalize(rows, weight, bias, eps=eps, relu=relu)
    return y.view(x.shape), mean, var
