"""Every kernel, CPU and CUDA, against the truth on random calls, plain and under the sanitizers."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from tests.emulate import build
from tests.emulate.calls import calls, check
from tests.emulate.driver import Call, driver
from tests.ops import cases

DEVICES = {"cpu": "cpp", "cuda": "cu"}
OPS = sorted(path.stem for path in (build.HOUSE / "csrc/ops").glob("*.cpp"))
FILES = {(op, device): build.HOUSE / f"csrc/{device}/{op}.{end}" for op in OPS for device, end in DEVICES.items()}
KERNELS = [kernel for kernel, file in FILES.items() if file.exists()]


def run(variant, op, device, examples):
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if variant == "plain" else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(call=calls(op, device))
    def one(call):
        check(driver(variant), call)

    one()
    assert driver(variant).close() == ""


@pytest.mark.parametrize("op, device", KERNELS)
def test_equals_the_truth(op, device):
    run("plain", op, device, 150 if device == "cpu" else 60)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["asan", "tsan"])
@pytest.mark.parametrize("op, device", KERNELS)
def test_a_sanitizer_is_content(variant, op, device):
    run(variant, op, device, 60 if device == "cpu" else 25)


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
