"""Pairs that the tests of all ops share, and how those that hold for every op call each one."""

import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infotorch import ops
from infotorch.ops import reference

# (N, T, I, O): ordinary, one position, one feature, off every tile edge, past a tile in T, I and O, past a group of
# samples, whole tiles, groups that share a tile of positions, samples of several tiles, wide with many positions for
# few and for more samples, the highest tiles, no positions, no features, no samples.
SHAPES = [(4, 3, 8, 5), (3, 1, 33, 17), (2, 7, 1, 1), (2, 11, 67, 35), (1, 300, 6, 9), (2, 20, 300, 150)]
SHAPES += [(70, 1, 40, 33), (40, 5, 20, 30), (4, 64, 64, 32), (9, 49, 90, 70), (3, 290, 40, 20)]
SHAPES += [(3, 140, 480, 20), (18, 130, 16, 512), (3, 6, 1100, 20), (9, 130, 400, 430)]
SHAPES += [(3, 0, 4, 4), (2, 9, 0, 4), (0, 2, 4, 4)]


def make_pair(N, T, I, O, rng, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    a = torch.randn(N, T, I, dtype=torch.float64, generator=rng, device=rng.device)
    b = torch.randn(N, T, O, dtype=torch.float64, generator=rng, device=rng.device)
    return a.to(dtype), b.to(dtype)


def make_index_pair(N, T, I, O, rng, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """(ids [N, T] in [0, I), b [N, T, O])."""
    return torch.randint(I, (N, T), generator=rng, device=rng.device), make_pair(N, T, 0, O, rng, dtype)[1]


def make_seeded_pair(N, K, T, I, O, rng, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """(a [N, T, I], b [N, K, T, O])."""
    b = make_pair(N, K * T, 0, O, rng, dtype)[1]
    return make_pair(N, T, I, 0, rng, dtype)[0], b.view(N, K, T, O)


# (T, I, O, k) of sketches: outer products, formed tiles, several partial sums, few elements for many buckets, ragged
# edges, wide rows, several runs of positions.
SKETCHED = [(1, 130, 70, 64), (3, 70, 90, 60), (30, 140, 130, 40), (5, 9, 11, 4000), (1, 5, 9, 3), (1, 512, 300, 1000)]
SKETCHED += [(130, 16, 512, 300), (300, 9, 16, 128)]


def golden(op: str, *names: str, dtype=torch.float64, device="cpu") -> list[Tensor]:
    case = json.loads((pathlib.Path(__file__).parents[1] / f"golden/{op}.json").read_text())
    return [torch.tensor(case[name], dtype=dtype, device=device) for name in names]


# stride, padding, dilation and kernel of convolutions whose patches overlap, skip, and do neither
CONVS = [
    dict(kernel_size=1),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=(3, 2), dilation=(1, 2)),
    dict(kernel_size=5, padding=2),
]


def conv_case(options, rng) -> tuple[nn.Conv2d, Tensor]:
    conv = nn.Conv2d(5, 7, **options, dtype=torch.float64, device=rng.device)
    return conv, torch.randn(3, 5, 19, 23, dtype=torch.float64, generator=rng, device=rng.device)


def conv_pair(conv: nn.Conv2d, x: Tensor, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """(a [N, T1, T2, Cin, kh, kw], b [N, T, O]) for loss = sum tanh(conv(x)), both views that nothing unfolded."""
    out = conv(x)
    (b,) = torch.autograd.grad(out.tanh().sum(), out)  # [N, O, T1, T2]
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel_size, conv.stride, conv.dilation
    padded = nn.functional.pad(x, (conv.padding[1],) * 2 + (conv.padding[0],) * 2).to(dtype)  # [N, Cin, H, W]
    n, c, h, w = padded.stride()
    size = (x.shape[0], *out.shape[2:], x.shape[1], kh, kw)
    return padded.as_strided(size, (n, h * sh, w * sw, c, h * dh, w * dw)), b.to(dtype).flatten(2).mT


def conv_grads(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Gradients [N, O, I + 1] of the same loss, weight then bias, one backward pass a sample."""
    rows = []
    for x_n in x:
        weight, bias = torch.autograd.grad(conv(x_n[None]).tanh().sum(), [conv.weight, conv.bias])
        rows.append(torch.cat([weight.flatten(1), bias[:, None]], 1))
    return torch.stack(rows)


def linear_case(rng) -> tuple[Tensor, Tensor, Tensor]:
    """(a [N, T, I], b [N, T, O], G [N, O, I]) of a Linear under tanh, by ``torch.func``."""
    layer = nn.Linear(6, 4, bias=False, dtype=torch.float64, device=rng.device)
    head = torch.arange(4, dtype=torch.float64, device=rng.device)
    x = torch.randn(5, 3, 6, dtype=torch.float64, generator=rng, device=rng.device)
    out = layer(x)
    (b,) = torch.autograd.grad((out.tanh() @ head).sum(), out)

    def loss(weight, x_n):
        return (torch.func.functional_call(layer, {"weight": weight}, (x_n,)).tanh() @ head).sum()

    return x, b, torch.func.vmap(torch.func.grad(loss), (None, 0))(layer.weight.detach(), x)


def embedding_case(rng) -> tuple[Tensor, Tensor, Tensor]:
    """(ids [N, T], b [N, T, O], G [N, O, I]) of an Embedding under tanh, one backward pass a sample."""
    layer = nn.Embedding(11, 4, dtype=torch.float64, device=rng.device)
    ids = torch.randint(11, (5, 7), generator=rng, device=rng.device)
    out = layer(ids)
    (b,) = torch.autograd.grad(out.tanh().sum(), out)
    rows = [torch.autograd.grad(layer(row).tanh().sum(), layer.weight)[0] for row in ids]
    return ids, b, torch.stack(rows).mT


def respread(x: Tensor) -> list[Tensor]:
    """The same numbers lying otherwise: transposed, every second one, from an odd address."""
    spread = torch.stack([x, x], -1)[..., 0]
    odd = torch.cat([x.new_zeros(1), x.flatten()])[1:].reshape(x.shape)
    return [x.mT.contiguous().mT, spread, odd]


@dataclass(frozen=True, kw_only=True)
class Call:
    """What an op takes beside its pair."""

    args: Callable[[int, int, int], tuple[Tensor, ...]] = lambda N, O, I: ()
    """Its tensors after a and b, from the size of G [N, O, I], I with the bias."""
    ways: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    """Every choice of its own options."""
    differentiable: bool = True
    """Whether it has an autograd formula."""


def waves(*size: int) -> Tensor:
    """Numbers in [-1, 1], the same at every call."""
    return torch.arange(torch.Size(size).numel(), dtype=torch.float64).sin().reshape(size)


METHODS = [{"method": method} for method in ("auto", "gram", "materialize")]
CALLS = {
    "fisher": Call(ways=[{"form": "diagonal"}, {"form": "full"}], differentiable=False),
    "kron": Call(ways=[{"split": "expand"}, {"split": "reduce"}], differentiable=False),
    "grads": Call(),
    "norms": Call(ways=METHODS),
    "gram": Call(ways=METHODS),
    "jvp": Call(args=lambda N, O, I: (waves(3, O, I),), ways=[{"method": m} for m in ("auto", "apply", "materialize")]),
    "project": Call(ways=[{"k": 7, "seed": 3}, {"k": 1, "seed": 3, "kind": "kron"}], differentiable=False),
    "vjp": Call(args=lambda N, O, I: (waves(3, N),)),
}
MOST_SQUARED = 3000  # numbers of one gradient whose outer product the tests hold in float64
WAYS = [(op, way) for op, call in CALLS.items() for way in call.ways]


def is_too_large(way: dict[str, Any], shape: tuple[int, int, int, int]) -> bool:
    """Whether a result would have billions of numbers: a full Fisher information squares the size of G."""
    return way.get("form") == "full" and shape[2] * shape[3] > MOST_SQUARED


def result_dtype(b: Tensor) -> torch.dtype:
    return torch.float32 if b.dtype in (torch.float32, torch.bfloat16, torch.float16) else torch.float64


def arguments(op, a, b, *, bias=False, t_dims=1, in_features=None, **way) -> tuple[Tensor, ...]:
    """The tensors that ``op`` takes after a and b, of the result's dtype and b's device."""
    I = a.shape[1 + t_dims :].numel() if in_features is None else max(0, in_features)
    return tuple(x.to(b.device, result_dtype(b)) for x in CALLS[op].args(b.shape[0], b.shape[-1], I + bias))


def bind(op: str, a: Tensor, b: Tensor, **options: Any) -> Callable[[], Any]:
    """``op`` of the pair, waiting to be called, with whatever else it needs on the device already."""
    return partial(getattr(ops, op), a, b, *arguments(op, a, b, **options), **CALLS[op].ways[0] | options)


def run(op: str, a: Tensor, b: Tensor, **options: Any) -> Any:
    """``op`` of the pair, with whatever else it needs."""
    return bind(op, a, b, **options)()


def truth(op: str, a: Tensor, b: Tensor, **options: Any) -> Any:
    """The same by its einsum in float64; a method is no part of it."""
    options = {name: choice for name, choice in (CALLS[op].ways[0] | options).items() if name != "method"}
    return getattr(reference, op)(a, b, *arguments(op, a, b, **options), **options)


def parts(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What an op returned, as if it always were several tensors."""
    return (out,) if isinstance(out, Tensor) else out
