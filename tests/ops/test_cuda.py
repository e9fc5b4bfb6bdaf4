"""What holds for every op on a GPU: the truth in memory full of NaN, stream and device, CUDA graphs, and the bits."""

import pathlib
import subprocess
import sys

import pytest
import torch

from tests.laws import RTOL, assert_same, assert_same_bits
from tests.ops import cases
from tests.ops.cases import bind, parts, run, truth

pytestmark = pytest.mark.cuda
HOUSE = pathlib.Path(__file__).parents[2]
KERNELS = {path.stem for path in (HOUSE / "csrc/cuda").glob("*.cu")}
WAYS = [(op, way) for op, way in cases.WAYS if op in KERNELS]
every_way = pytest.mark.parametrize("op, way", WAYS, ids=str)
SUMS = [(op, way) for op, way in WAYS if op not in ("jvp", "project")]  # those two take terms of both signs
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def make_pair(shape, device, dtype=torch.float32):
    return cases.make_pair(*shape, torch.Generator(device).manual_seed(0), dtype)


def sizes(shape):
    return "x".join(map(str, shape))


def poison(device):
    """Leave NaN in the memory that torch hands out next."""
    blocks = [torch.full((size,), torch.nan, device=device) for size in (1 << 6, 1 << 12, 1 << 18, 1 << 24)]
    del blocks


def assert_true(op, got, a, b, **options):
    for x, want in zip(parts(got), parts(truth(op, a, b, **options)), strict=True):
        assert_same(x, want, b.dtype)


@every_way
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("shape", [(5, 1, 70, 33), (4, 3, 40, 20), (3, 140, 72, 136), (2, 33, 264, 48)], ids=sizes)
def test_equals_the_einsum(op, way, shape, bias, dtype, gpu):
    if cases.is_too_large(way, shape):
        pytest.skip("a result of gigabytes")
    a, b = make_pair(shape, gpu, dtype)
    poison(gpu)
    assert_true(op, run(op, a, b, bias=bias, **way), a, b, bias=bias, **way)


@pytest.mark.parametrize("op, way", SUMS, ids=str)
def test_long_sums_of_positive_numbers_keep_their_digits(op, way, gpu):
    """Where tensor cores cut off what falls below a sum's last digit, nothing of the other sign makes up for it."""
    a, b = (x.abs() for x in make_pair((2, 1 << 17, 40, 24), gpu, torch.bfloat16))
    assert_true(op, run(op, a, b, **way), a, b, **way)


@pytest.mark.parametrize("op", sorted({"norms", "gram"} & KERNELS))
@pytest.mark.parametrize("method", ["gram", "materialize"])
def test_tf32_is_used_where_torch_allows_it(op, method, gpu, monkeypatch):
    a, b = make_pair((9, 140, 136, 200), gpu)
    exact = run(op, a, b, method=method)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    rounded = run(op, a, b, method=method)
    error = (rounded - exact).norm() / exact.norm()
    assert 0 < error <= RTOL[torch.float16]  # which has as many bits of fraction
    assert_true(op, exact, a, b, method=method)


@every_way
def test_runs_on_the_current_stream(op, way, gpu):
    a, b = make_pair((6, 20, 24, 16), gpu)
    want = run(op, a, b, **way)
    late = torch.zeros_like(a)
    call = bind(op, late, b, **way)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        late.copy_(a)
        got = call()
        torch.cuda.current_stream().synchronize()
    for x, y in zip(parts(got), parts(want), strict=True):
        assert_same_bits(x, y)


@every_way
def test_a_cuda_graph_replays_it(op, way, gpu):
    a, b = make_pair((6, 20, 24, 16), gpu)
    call = bind(op, a, b, **way)
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = call()
    a.copy_(-2 * a)
    graph.replay()
    for x, y in zip(parts(got), parts(call()), strict=True):
        assert_same_bits(x, y)


@every_way
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_call_gives_the_same_bits(op, way, dtype, gpu):
    a, b = make_pair((40, 30, 50, 40), gpu, dtype)
    first = parts(run(op, a, b, **way))
    for _ in range(3):
        poison(gpu)
        for x, y in zip(parts(run(op, a, b, **way)), first, strict=True):
            assert_same_bits(x, y)


@every_way
def test_runs_on_the_second_gpu_while_the_first_is_current(op, way, gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    a, b = make_pair((6, 20, 24, 16), torch.device("cuda", 1))
    got = run(op, a, b, **way)
    assert torch.cuda.current_device() == gpu.index
    assert all(x.device == a.device for x in parts(got))
    assert_true(op, got, a, b, **way)


@every_way
def test_agrees_with_the_cpu(op, way, gpu):
    a, b = make_pair((7, 18, 26, 34), gpu, torch.float64)
    for x, y in zip(parts(run(op, a, b, **way)), parts(run(op, a.cpu(), b.cpu(), **way)), strict=True):
        assert_same(x.cpu(), y)


@every_way
@pytest.mark.parametrize("bias", [False, True])
def test_indices_equal_the_einsum(op, way, bias, gpu):
    ids, b = cases.make_index_pair(4, 35, 40, 20, torch.Generator(gpu).manual_seed(0), torch.float32)
    options = way | {"bias": bias, "in_features": 40}
    assert_true(op, run(op, ids, b, **options), ids, b, **options)


@every_way
def test_patches_are_read_as_they_lie(op, way, gpu):
    conv, x = cases.conv_case({"kernel_size": 3, "stride": 2, "padding": 1}, torch.Generator(gpu).manual_seed(0))
    a, b = cases.conv_pair(conv, x)
    options = way | {"bias": True, "t_dims": 2}
    assert_true(op, run(op, a, b, **options), a, b, **options)


STOPS = """
import torch
from infotorch.ops import norms
norms(torch.tensor([[0, 5]], device="cuda"), torch.ones(1, 2, 3, device="cuda"), in_features=5)
torch.cuda.synchronize()
"""


def test_an_index_out_of_range_stops_the_device(gpu):
    """In a process of its own, since nothing runs on the device after that; every op makes the same check."""
    done = subprocess.run([sys.executable, "-c", STOPS], capture_output=True, text=True, cwd=HOUSE)
    assert done.returncode != 0 and "device-side assert" in done.stderr
    assert "norms: indices in a must lie in [0, 5)" in done.stderr + done.stdout
