"""Every kernel, CPU and CUDA, against the truth on random calls: plain, and under the sanitizers."""

import inspect

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from infotorch.ops import reference
from tests.emulate import build
from tests.emulate.calls import calls, check
from tests.emulate.driver import Call
from tests.emulate.programs import driver
from tests.ops import cases

DEVICES = {"cpu": "cpp", "cuda": "cu"}
OPS = sorted(path.stem for path in (build.HOUSE / "csrc/ops").glob("*.cpp"))
FILES = {(op, device): build.HOUSE / f"csrc/{device}/{op}.{end}" for op in OPS for device, end in DEVICES.items()}
KERNELS = [kernel for kernel, file in FILES.items() if file.exists()]
EXAMPLES = {("plain", "cpu"): 100, ("asan", "cpu"): 50, ("tsan", "cpu"): 50}
EXAMPLES |= {("plain", "cuda"): 60, ("asan", "cuda"): 25, ("tsan", "cuda"): 15}


@pytest.mark.parametrize("op, device", KERNELS)
@pytest.mark.parametrize("variant", ["plain", *(pytest.param(x, marks=pytest.mark.slow) for x in ("asan", "tsan"))])
def test_random_calls(variant, op, device):
    program = driver(variant)

    @settings(
        max_examples=EXAMPLES[variant, device],
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if variant == "plain" else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(call=calls(op, device))
    def one(call):
        check(program, call)

    one()
    assert program.close() == ""


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_indices_at_several_tiles_of_positions_have_room(op, rng):
    """Whatever the method: one that is for rows alone must not say how much scratch indices have."""
    a, b = cases.make_index_pair(2, 130, 3, 4, rng, torch.float32)
    beside = {"v": (4, 3), "w": (2,)}
    known = inspect.signature(getattr(reference, op)).parameters
    tensors = {"a": a, "b": b} | {name: cases.waves(*size).float() for name, size in beside.items() if name in known}
    options = {"bias": False, "t_dims": 1, "in_features": 3, "tf32": False, "name": "", "kind": "sjlt"}
    for way in cases.CALLS[op].ways:
        if way.get("method") != "auto":
            check(driver("asan"), Call(op=op, device="cuda", tensors=tensors, options=options | way))


def sketches(a, b, **options):
    """Raw, from the kernels of both devices."""
    options = {"bias": False, "t_dims": 1, "seed": 2**64 - 1, "name": "w", "kind": "sjlt"} | options
    tensors = {"a": a, "b": b}
    return [driver("plain")(Call(op="project", device=d, tensors=tensors, options=options))[0] for d in DEVICES]


def test_a_sketch_has_the_buckets_and_signs_of_the_host():
    """Every sample is one element of the gradient."""
    a, b = torch.eye(40).repeat(33, 1)[:, None], torch.eye(33).repeat_interleave(40, 0)[:, None]
    host, device = sketches(a, b, k=5000)
    assert device == host
    host, device = sketches(torch.arange(40).repeat(33)[:, None], b, k=5000, in_features=40)
    assert device == host


@pytest.mark.parametrize("kind", ["sjlt", "kron"])
def test_a_sketch_on_a_gpu_does_not_depend_on_the_batch(kind, rng):
    a, b = cases.make_pair(12, 5, 70, 50, rng, torch.float32)
    whole = sketches(a, b, k=40, kind=kind, bias=True)[1]
    for n in (0, 11):
        alone = sketches(a[n : n + 1], b[n : n + 1], k=40, kind=kind, bias=True)[1]
        assert alone == whole[n * len(alone) : (n + 1) * len(alone)]
