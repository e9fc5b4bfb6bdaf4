"""Everything that only a machine with a GPU can show, in one command: python -m benchmarks.gpu.

Builds the kernels for the GPU that is there, runs the tests marked ``cuda``, compute-sanitizer's tools over some of
them where it is installed, and races every op against its PyTorch forms, at last against compiled ones too. Writes
benchmarks/results/<device>.jsonl and a table beside it. Needs no network and ends within nine minutes: every stage has
its time, and what did not fit is said. Exits with 1 if a check failed or did not finish.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import torch

from benchmarks.harness import RESULTS
from benchmarks.layers import ON_GPU, WIDE_BATCH, Layer
from benchmarks.meter import meter_of

ROOT = pathlib.Path(__file__).parents[1]
START = time.monotonic()
# The second at which a stage is stopped or, for races, starts no other: one takes seconds, a compilation up to a
# minute. What a stage leaves is the next one's.
ENDS = {"build": 150, "tests": 270, "sanitizers": 360, "races": 460, "compiled": 480}
SANITIZED = "test_equals_the_einsum and 3x140x72x136 and bias and (float32 or bfloat16)"  # every op on several tiles
PYTEST = (sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-p", "no:cacheprovider")


def left(stage: str) -> float:
    return ENDS[stage] - (time.monotonic() - START)


def run(*command: str, seconds: float, **env: str) -> int | None:
    """The exit code, or None if it had to be stopped, with whatever it had started."""
    print(f"[{time.monotonic() - START:4.0f} s] {' '.join(command[-6:])}", flush=True)
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, start_new_session=True) as child:
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def check(name: str, *command: str, seconds: float, **env: str) -> bool:
    """Whether the command passed; prints that, or what became of it."""
    code = run(*command, seconds=max(1, seconds), **env)
    verdict = "passed" if code == 0 else f"not finished after {seconds:.0f} s" if code is None else f"failed ({code})"
    print(f"{name}: {verdict}", flush=True)
    return code == 0


def build() -> None:
    major, minor = torch.cuda.get_device_capability()
    env = {"INFOTORCH_CUDA": "1", "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}"}
    if not check("build", sys.executable, "setup.py", "-q", "build_ext", "--inplace", seconds=left("build"), **env):
        sys.exit("benchmarks.gpu: the build must succeed; got the above. Read its first error.")


def sanitize() -> bool:
    """Whether every tool passed that there was time for."""
    nvcc = shutil.which("nvcc")  # the toolkits that setup.py knows
    beside = pathlib.Path(nvcc).resolve().parent if nvcc else ""
    places = (f"{os.environ.get('CUDA_HOME', '')}/bin", beside, os.environ["PATH"], "/usr/local/cuda/bin")
    sanitizer = shutil.which("compute-sanitizer", path=os.pathsep.join(map(str, places)))
    if sanitizer is None:
        print("compute-sanitizer: not installed, none of its four tools ran", flush=True)
        return True
    good = True
    for done, tool in enumerate(("memcheck", "racecheck", "initcheck", "synccheck")):
        seconds = left("sanitizers") / (4 - done)
        if seconds < 15:  # which it takes to load torch
            print(f"compute-sanitizer {tool}: not run, no time left", flush=True)
            continue
        command = (
            sanitizer,
            "--tool",
            tool,
            "--error-exitcode",
            "9",
            *PYTEST,
            "tests/ops/test_cuda.py",
            "-k",
            SANITIZED,
        )
        # torch's cache of memory would hide what lies beyond a tensor, and what was never written
        good &= check(f"compute-sanitizer {tool}", *command, seconds=seconds, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    return good


def plan() -> Iterator[tuple[ModuleType, Layer]]:
    """What is raced, from what matters most on."""
    from benchmarks.ops import OPS  # which load the kernels, so not before they are built

    for ops in (OPS[:3], OPS[3:]):
        for dtype in (torch.bfloat16, torch.float32):
            for op in ops:
                for layer in [*ON_GPU, WIDE_BATCH] if op.__name__.endswith("norms") else ON_GPU:
                    yield op, replace(layer, device="cuda", dtype=dtype)


def race(stage: str, races: list[tuple[ModuleType, Layer]]) -> None:
    """Race what there is time for; print what was not reached or failed."""
    missing = []
    for op, layer in races:
        name = f"{op.__name__.rsplit('.', 1)[-1]} {layer.dtype} {layer.name}"
        if left(stage) < 0:
            missing.append(name)
            continue
        try:
            op.race(layer)
        except (AssertionError, RuntimeError, ValueError) as error:  # the others are worth having
            print(f"{name}: {error}", flush=True)
            missing.append(name)
    print(f"{stage} without a result: {'; '.join(missing) or 'none'}", flush=True)


def table(path: pathlib.Path) -> None:
    """Rewrite <device>.md from the last line of every case in <device>.jsonl."""
    cases = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        cases[row["op"], row.get("K"), row["case"], row.get("dtype")] = row
    lines = ["| op | layer | dtype | ms | speed-up over the fastest PyTorch form | of the floor's pace |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for row in cases.values():
        lines.append(
            f"| {row['op']} | {row['case']} | {row.get('dtype')} | {row['ms']['ours']} | {row['speedup']} "
            f"({row['best_baseline']}) | {row['fraction_of_floor']} ({row.get('floor')}) |"
        )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: a GPU must be there; got none. Run it on a machine whose torch sees one.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}", flush=True)
    build()
    good = check("tests", *PYTEST, "tests/ops", "--maxfail=20", seconds=left("tests"))
    good &= sanitize()
    races = list(plan())
    race("races", races)
    race("compiled", [(op, replace(layer, compiled=True)) for op, layer in races if layer.dtype == torch.bfloat16])
    results = RESULTS / f"{meter_of('cuda').name}.jsonl"
    if results.exists():
        table(results)
    sys.exit(not good)


if __name__ == "__main__":
    main()
