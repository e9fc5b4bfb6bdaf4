"""What holds for every op's kernels on the CPU: long sums stay exact, memory is bounded, rows are alone."""

import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from benchmarks.meter import Cpu
from infotorch import _C, ops
from infotorch.ops import reference
from infotorch.ops.project import add_projections
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases
from tests.ops.cases import WAYS, parts

HOUSE = pathlib.Path(__file__).parents[2]
# (N, T, I, O) with many positions, many samples, and both.
LONG = [(1, 784, 3, 2), (2, 8192, 40, 30), (1, 16384, 3, 2), (100_000, 1, 3, 2), (20_000, 3, 40, 30)]
LONG += [(100_000, 2, 3, 2), (1_000_000, 1, 2, 2), (1_000_000, 2, 1, 1)]
# With equal samples and positions an op is N^p T^q times what it is of one.
POWERS = {"grads": (0, 1), "norms": (0, 2), "gram": (0, 2), "jvp": (0, 1), "vjp": (1, 1), "project": (0, 1)}
POWERS |= {"fisher": (1, 2), "expand": (1, 1), "reduce": (1, 2)}


def tenths(*size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full(size, 0.1, dtype=dtype)


@pytest.mark.parametrize("kind", ["dense", "bias", "indices"])
@pytest.mark.parametrize("shape", LONG, ids=str)
@pytest.mark.parametrize("op, way", WAYS, ids=str)
def test_long_sums_of_one_sign_stay_exact(op, way, shape, kind, dtype):
    """0.1 everywhere: errors of a running sum all have one sign, and would add up."""
    N, T, I, O = shape
    if op == "gram" and N > 2:
        pytest.skip("the result would have billions of numbers")
    if way.get("method") == "gram" and T > 10_000:
        pytest.skip("minutes of products")
    if way.get("form") == "full" and I > 3:
        pytest.skip("the result would have millions of numbers")
    bias, in_features = kind != "dense", 2 if kind == "indices" else None
    a = torch.ones(N, T, dtype=torch.int64) if in_features else tenths(N, T, I, dtype=dtype)
    b = tenths(N, T, O, dtype=dtype)
    size = (3, O, (in_features or I) + bias)
    args = {"vjp": [tenths(3, N, dtype=dtype)], "jvp": [tenths(*size, dtype=dtype)]}.get(op, [])
    options = {"bias": bias, "in_features": in_features} | way
    got = getattr(ops, op)(a, b, *args, **options)
    options.pop("method", None)
    one = getattr(reference, op)(a[:1, :1], b[:1, :1], *[x[:, :1] if op == "vjp" else x for x in args], **options)
    p, q = POWERS[way.get("split", op)]
    for x, x_one in zip(parts(got), parts(one), strict=True):
        assert_same(x, (x_one * float(N) ** p * float(T) ** q).expand(x.shape))


@pytest.mark.parametrize("method", ["gram", "materialize"])
@pytest.mark.parametrize("T, I, O", [(1, 1_000_000, 2), (2, 1_000_000, 2), (5, 2, 1_000_000), (130, 100_000, 2)])
@pytest.mark.parametrize("op", [ops.norms, ops.gram])
def test_long_rows_of_one_sign_stay_exact(op, T, I, O, method, dtype):
    a, b = tenths(1, T, I, dtype=dtype), tenths(1, T, O, dtype=dtype)
    tenth = float(torch.tensor(0.1, dtype=dtype))
    expected = torch.full((1,) if op is ops.norms else (1, 1), (T * tenth**2) ** 2 * I * O, dtype=torch.float64)
    assert_same(op(a, b, method=method), expected.to(dtype))


@pytest.mark.parametrize("shape", [(3, 1, 5, 4), (3, 64, 40, 30), (40, 2, 300, 200)], ids=str)
@pytest.mark.parametrize("op, way", WAYS, ids=str)
def test_denormal_numbers_count_as_0_in_the_kernels_alone(op, way, shape, rng):
    """Gradients of 1e-39 are slow on many processors, and nothing; the caller's own arithmetic keeps them."""
    if cases.is_too_large(way, shape):
        pytest.skip("the result would have billions of numbers")
    a, b = cases.make_pair(*shape, rng, torch.float32)
    got = cases.run(op, a.abs() + 1, b.sign() * 1e-39, **way)
    assert all(x.eq(0).all() for x in (parts(got)[1:] if op == "kron" else parts(got)))
    assert torch.tensor([1e-39]).mul(0.5).item() > 0


def under_mkl(choice: str, *command: str) -> subprocess.CompletedProcess:
    """A processor takes one kind of product, chosen when the library is loaded: so each has a process."""
    environment = os.environ | {"INFOTORCH_MKL": choice}
    return subprocess.run([sys.executable, *command], env=environment, cwd=HOUSE, capture_output=True, text=True)


@pytest.mark.parametrize("choice, name", [("0", "infotorch"), ("1", "torch's MKL")])
def test_wide_layers_by_either_product(choice, name):
    if choice == "1" and not torch.backends.mkl.is_available():
        pytest.skip("torch has no MKL")
    said = under_mkl(choice, "-c", "import torch; from infotorch import _C; print(_C.build['wide_products'])")
    assert said.stdout.strip() == name, said.stderr
    bits = [] if choice == "0" or _C.build["wide_products"] == name else ["values"]
    done = under_mkl(choice, "-m", "tests.ops.wide", *bits)
    assert done.returncode == 0, done.stderr[-2000:]


def test_another_choice_of_products_is_refused():
    done = under_mkl("off", "-c", "import infotorch.ops")
    assert done.returncode != 0
    assert "INFOTORCH_MKL: must be 0 or 1; got off. Unset it to have the faster one." in done.stderr


def many_samples(rng):
    pair, other = cases.make_pair(100_000, 2, 40, 30, rng, torch.float32), cases.make_pair(10, 2, 40, 30, rng)
    return lambda: ops.gram(*pair, *(x.float() for x in other), method="materialize")


def large_samples(rng):
    pair = cases.make_pair(2, 1024, 8192, 64, rng, torch.float32)
    return lambda: ops.gram(*pair, method="gram")


def many_weights(rng):
    a, b = cases.make_pair(20_000, 2, 8, 4, rng, torch.float32)
    w = torch.rand(1500, 20_000, generator=rng)
    return lambda: ops.vjp(a, b, w, bias=True)


def many_lookups(op, **way):
    def make(rng):
        ids = torch.stack([torch.randperm(8192, generator=rng) for _ in range(2)])
        b = torch.rand(2, 8192, 2048, generator=rng)
        args = {"vjp": (torch.ones(2),), "jvp": (torch.rand(2048, 8192, generator=rng),)}.get(op, ())
        return lambda: getattr(ops, op)(ids, b, *args, in_features=8192, **way)

    return make


def way_back(op, wrt, T, **options):
    """Of samples whose gradients take 256 MiB."""

    def make(rng):
        a, b = cases.make_pair(64, T, 1024, 1024, rng, torch.float32)
        if options:
            a = torch.randint(1024, (64, T), generator=rng)
        w = torch.rand(64, generator=rng)
        inputs = [(a, b, w)[k].requires_grad_() for k in wrt]
        out = getattr(ops, op)(a, b, *([w] if op == "vjp" else []), **options)
        weights = torch.rand(out.shape, generator=rng)
        return lambda: torch.autograd.grad(out, inputs, weights, retain_graph=True)

    return make


def large_factors(rng):
    """Of which each is drawn in pieces."""
    a, b = cases.make_pair(4, 1, 60_000, 50_000, rng)
    return lambda: ops.project(a, b, k=4096, seed=0, kind="kron")


HUNGRY = {
    "project with large factors": large_factors,
    "gram of many samples": many_samples,
    "gram of large samples": large_samples,
    "vjp of many weights": many_weights,
    "norms of many lookups": many_lookups("norms"),
    "gram of many lookups": many_lookups("gram"),
    "jvp of many lookups": many_lookups("jvp"),
    "vjp of many lookups": many_lookups("vjp"),
    "fisher of many lookups": many_lookups("fisher"),
    "project of many lookups": many_lookups("project", k=64, seed=0),
    "the way back of vjp": way_back("vjp", (0, 1, 2), 8),
    "the way back of norms": way_back("norms", (0, 1), 8),
    "the way back of norms of lookups": way_back("norms", (1,), 8, in_features=1024),
}


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="no account of memory but Linux's")
@pytest.mark.parametrize("case", HUNGRY)
def test_no_call_takes_more_than_64_mib_beyond_inputs_and_result(case, rng):
    call = HUNGRY[case](rng)
    extra = min(Cpu().extra_memory(call) for _ in range(2))  # the first call starts threads and loads libraries
    assert extra <= 64 << 20, f"{extra / 2**20:.0f} MiB"


@pytest.fixture
def threads():
    """Sets the number of threads; afterwards it is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "N, T, I, O, K",
    [(70, 24, 120, 110, (3,)), (300, 12, 20, 30, (5,)), (33, 200, 27, 32, (10,)), (20, 3, 40, 33, (17,)),
     (90, 30, 300, 290, ()), (90, 30, 800, 60, ())],
    ids=["many visits", "few numbers", "few samples", "not shared", "one product", "one of few rows"],
)  # fmt: skip
def test_samples_that_are_shared_out_give_the_same_bits_on_any_threads(N, T, I, O, K, dtype, threads, rng):
    a, b = cases.make_pair(N, T, I, O, rng, dtype)
    w = torch.randn(*K, N, dtype=torch.float64, generator=rng).to(dtype)
    threads(1)
    alone = ops.vjp(a, b, w)
    assert_same(alone, reference.vjp(a, b, w))
    for count in (2, 3):
        threads(count)
        assert_same_bits(ops.vjp(a, b, w), alone)


# What a factor depends on: seed, name, columns, features and the bias, of which each changes once.
FACTORS = [(3, "x", 12, 40, 0), (4, "x", 12, 40, 0), (3, "y", 12, 40, 0), (3, "x", 30, 40, 0), (3, "x", 12, 41, 0)]
FACTORS += [(3, "x", 12, 40, 1), (2**63 + 3, "x", 12, 40, 0)]


def sketches(rng, dtype):
    """Of FACTORS, and of more layers than are kept; with their truths."""
    for seed, name, k, I, bias in [*FACTORS, *((9, f"layer {n}", 4096, 30_000, 0) for n in range(6))]:
        a, b = cases.make_pair(2, 1, I, 30, rng, dtype)
        options = {"k": k, "seed": seed, "name": name, "kind": "kron", "bias": bool(bias)}
        yield a, b, options, reference.project(a, b, **options) if I < 100 else ops.project(a, b, **options)


def test_factors_that_are_kept_are_those_of_their_sketch(dtype, threads, rng):
    cases_and_truths = list(sketches(rng, dtype))
    for count in (1, 2, 3):
        threads(count)
        for a, b, options, truth in cases_and_truths:
            assert_same(ops.project(a, b, **options), truth)
    *_, (a, b, options, _) = sketches(rng, dtype)
    seeds = [10, 10, 11, 10, 11, 3] * 4
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(ops.project, a, b, **options | {"seed": seed}) for seed in seeds]
    for call, seed in zip(calls, seeds, strict=True):
        assert_same_bits(call.result(), ops.project(a, b, **options | {"seed": seed}))


@pytest.mark.parametrize("T, I, O, k", cases.SKETCHED)
def test_an_added_row_does_not_depend_on_its_batch_nor_on_threads(T, I, O, k, dtype, threads, rng):
    a, b = cases.make_seeded_pair(9, 10, T, I, O, rng, dtype)
    before = torch.randn(9, 10, k, dtype=dtype, generator=rng)
    truth = add_projections(before.clone(), a, b, seed=3)
    for count in (1, 2, 3):
        threads(count)
        for n, samples, first, seeds in [(0, 9, 0, 10), (0, 1, 0, 10), (8, 1, 9, 1), (2, 3, 1, 7), (3, 6, 4, 2)]:
            here = slice(n, n + samples), slice(first, first + seeds)
            got = add_projections(before[here].clone(), a[here[0]], b[here], seed=3)
            assert_same_bits(got, truth[here].contiguous())


def test_an_added_row_does_not_depend_on_how_many_are_side_by_side(threads, rng):
    """So many buckets that those of several rows fit one thread alone."""
    a, b = cases.make_seeded_pair(3, 2, 1, 512, 520, rng, torch.float32)
    before = torch.randn(3, 2, 2**20, generator=rng)
    threads(1)
    truth = add_projections(before.clone(), a, b, seed=3)
    threads(3)
    assert_same_bits(add_projections(before.clone(), a, b, seed=3), truth)
    assert_same_bits(add_projections(before[:1, 1:].clone(), a[:1], b[:1, 1:], seed=3), truth[:1, 1:].contiguous())
