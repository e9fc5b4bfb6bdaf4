"""Random calls of every op's kernels, and whether what comes back is the truth."""

import inspect
import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from infotorch.ops import reference
from tests import laws
from tests.emulate.driver import Call, Driver
from tests.ops import cases

# Multiply-adds that a call may ask for: a fiber is slower than a processor.
WORK = {"cpu": 1 << 21, "cuda": 1 << 17}
# Small ones, and those around the edges of tiles. A failing call is shrunk toward the first of each.
SAMPLES = [2, 1, 3, 4, 5, 17, 0]
SIZES = [3, 1, 2, 4, 5, 8, 0] + [edge + by for edge in (16, 32, 64, 112, 128, 256) for by in (-1, 0, 1)]
MOST_OF_A_MATRIX = 1 << 23  # numbers of the matrix by which a truth may sketch
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def spread(x: Tensor) -> Tensor:
    """Every second number of memory; a kernel that reads another one meets NaN."""
    wide = torch.full((*x.shape, 2), torch.nan, dtype=torch.float64).to(x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


LAYOUTS = {
    "dense": lambda x: x,
    "spread": spread,
    "transposed": lambda x: x.mT.contiguous().mT,
    "repeated": lambda x: x[:1].expand_as(x) if len(x) else x,
}


class Numbers:
    """What tensors hold: -1, 0 and 1, for which most sums are exact in any order, or normal numbers."""

    def __init__(self, seed: int, whole: bool) -> None:
        self.rng, self.whole = torch.Generator().manual_seed(seed), whole

    def __call__(self, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        x = torch.randn(size, dtype=torch.float64, generator=self.rng)
        return (x.round().clamp(-1, 1) if self.whole else x).to(dtype)

    def indices(self, size: tuple[int, ...], below: int) -> Tensor:
        return torch.randint(below, size, generator=self.rng)


@st.composite
def patches(draw, numbers: Numbers, N: int, dtype: torch.dtype) -> Tensor:
    """[N, T1, T2, C, kh, kw], a view of images [N, C, H, W] that overlaps, skips or does neither."""
    T1, T2, C, kh, kw, step, gap = (draw(st.integers(1, most)) for most in (5, 5, 4, 3, 3, 2, 2))
    image = numbers((N, C, (T1 - 1) * step + (kh - 1) * gap + 1, (T2 - 1) * step + (kw - 1) * gap + 1), dtype)
    n, c, h, w = image.stride()
    return image.as_strided((N, T1, T2, C, kh, kw), (n, h * step, w * step, c, h * gap, w * gap))


@st.composite
def sets(draw, numbers: Numbers, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, dict]:
    """(a, b, how the user describes them)."""
    sizes = [draw(st.sampled_from(among)) for among in (SAMPLES, SIZES, SIZES, SIZES)]
    while torch.Size(sizes).numel() > WORK[device]:
        sizes[sizes.index(max(sizes))] //= 2
    N, T, I, O = sizes
    layout = draw(st.sampled_from([*LAYOUTS, "patches", "indices"]))
    options = {"bias": draw(st.booleans()), "t_dims": 1}
    if layout == "patches":
        a = draw(patches(numbers, N, dtype))
        T, options["t_dims"] = a.shape[1] * a.shape[2], 2
    elif layout == "indices":
        options["in_features"] = max(1, I)
        a = numbers.indices((N, T), options["in_features"])
    else:
        a = LAYOUTS[layout](numbers((N, T, I), dtype))
    b = LAYOUTS[draw(st.sampled_from([*LAYOUTS]))](numbers((N, T, O), dtype))
    return a, b, options


@st.composite
def second_set(draw, numbers: Numbers, a: Tensor, b: Tensor, options: dict) -> dict[str, Tensor]:
    """a2 and b2: other samples with other positions, or as many where positions lie along several axes."""
    M = draw(st.sampled_from(SAMPLES))
    positions = torch.Size([draw(st.sampled_from(SIZES[:9]))]) if options["t_dims"] == 1 else a.shape[1:3]
    if "in_features" in options:
        a2 = numbers.indices((M, *positions), options["in_features"])
    else:
        a2 = numbers((M, *positions, *a.shape[1 + len(positions) :]), a.dtype)
    return {"a2": a2, "b2": numbers((M, positions.numel(), b.shape[2]), b.dtype)}


@st.composite
def sketches(draw, O: int, I: int, bias: bool) -> dict[str, Any]:
    """What ``project`` takes: few buckets, many, more than one block holds; or the columns of both factors."""
    choice = {"seed": draw(st.sampled_from([3, 2**64 - 1])), "name": draw(st.sampled_from(["", "ü"]))}
    if draw(st.booleans()):
        fits = [k for k in (7, 1, 2, 64, 500, 5000, 20000) if k * O * I <= MOST_OF_A_MATRIX]
        return choice | {"kind": "sjlt", "k": draw(st.sampled_from(fits or [1]))}
    features = max(1, I - bias)
    return choice | {"kind": "kron", "k": math.prod(draw(st.integers(1, max(1, most))) for most in (O, features))}


@st.composite
def calls(draw, op: str, device: str) -> Call:
    numbers = Numbers(draw(st.integers(0, 1 << 32)), draw(st.booleans()))
    dtype = draw(st.sampled_from(DTYPES))
    a, b, options = draw(sets(numbers, dtype, device))
    tensors = {"a": a, "b": b}
    I = options.get("in_features", a.shape[1 + options["t_dims"] :].numel()) + options["bias"]
    if op == "gram" and draw(st.booleans()):
        tensors |= draw(second_set(numbers, a, b, options))
    K = draw(st.sampled_from([(), (0,), (1,), (3,), (17,)]))
    for name, size in {"w": (len(b),), "v": (b.shape[2], I)}.items():
        if name in inspect.signature(getattr(reference, op)).parameters:
            tensors[name] = numbers((*K, *size), cases.result_dtype(b))
    if device == "cuda":
        options["tf32"] = op != "project" and draw(st.booleans()) and dtype == torch.float32
    if op == "project":
        options |= draw(sketches(b.shape[2], I, options["bias"]))
    squares = b.shape[2] * I <= WORK[device] ** 0.5  # a full Fisher information squares the size of G
    ways = [
        way for way in cases.CALLS[op].ways if way.get("method") != "auto" and (squares or way.get("form") != "full")
    ]
    return Call(
        op=op,
        device=device,
        tensors=tensors,
        options=draw(st.sampled_from(ways)) | options,
        seed=draw(st.integers(1, 1 << 32)),
        threads=draw(st.integers(1, 4)),
        odd=draw(st.booleans()),
    )


def truth(call: Call, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    if call.op == "block_sums":
        return (tensors["b"].double().sum((1, 2)),)
    function = getattr(reference, call.op)
    known = inspect.signature(function).parameters
    return cases.parts(function(**tensors, **{name: x for name, x in call.options.items() if name in known}))


def check(driver: Driver, call: Call) -> None:
    """Runs the call and compares: bit for bit where every partial sum is a whole number that float32 has."""
    results, truths = driver(call), truth(call, call.tensors)
    sizes = truth(call, {name: x if x.dtype == torch.int64 else x.abs() for name, x in call.tensors.items()})
    stored = torch.float16 if call.options.get("tf32") else call.tensors["b"].dtype  # as many bits of fraction
    dtype = torch.float64 if call.op == "block_sums" else cases.result_dtype(call.tensors["b"])
    assert len(results) == len(truths)
    for raw, want, size in zip(results, truths, sizes, strict=True):
        got = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        got = got.reshape(want.shape).double()
        if want.equal(want.round()) and (size < 1 << 24).all():
            assert torch.equal(got, want), "wrong result"
        else:  # terms may cancel, hence a little of what they would add up to
            assert (got - want).norm() <= laws.RTOL[stored] * (want.norm() + size.norm() / 50), "inexact result"
