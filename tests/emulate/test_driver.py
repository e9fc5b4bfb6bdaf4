"""Every kernel, CPU and CUDA, against the truth on random calls: plain, and under the sanitizers."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.emulate import build
from tests.emulate.calls import calls, check
from tests.emulate.programs import driver

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
