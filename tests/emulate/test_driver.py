"""Every kernel, CPU and CUDA, against the truth on random calls, plain and under the sanitizers."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.emulate import build
from tests.emulate.calls import calls, check
from tests.emulate.driver import driver

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
