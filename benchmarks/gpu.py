"""Everything that only a machine with a GPU can show, in one command: python -m benchmarks.gpu.

Builds the kernels for the GPU that is there, runs the tests marked ``cuda``, compute-sanitizer's tools over the
smallest of them where it is installed, and races every op against its PyTorch forms, compiled ones included. Writes
benchmarks/results/<device>.jsonl and a table beside it. Needs no network, and stops starting new work in time to end
within nine minutes; what did not run is said.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import torch

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 510  # after which nothing new is started
SANITIZED = "smallest"  # a word in the names of the tests that compute-sanitizer runs
START = time.monotonic()


def left() -> float:
    return SECONDS - (time.monotonic() - START)


def run(*command: str, seconds: float, **env: str) -> int:
    """The exit code; 124 past the limit. A command that is stopped says so."""
    print(f"[{SECONDS - left():4.0f} s] {' '.join(command[-6:])}", flush=True)
    try:
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, timeout=max(1, seconds)).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped after {seconds:.0f} s", flush=True)
        return 124


def build() -> None:
    major, minor = torch.cuda.get_device_capability()
    env = {"INFOTORCH_CUDA": "1", "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}"}
    if run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", seconds=left(), **env):
        sys.exit("benchmarks.gpu: the build must succeed; got the error above. Read the first one.")


def test() -> bool:
    """Whether all tests that ran passed."""
    pytest = (sys.executable, "-m", "pytest", "-m", "cuda", "tests/ops", "-q", "-p", "no:cacheprovider")
    good = run(*pytest, "-x", "--maxfail=20", seconds=min(180, left())) == 0
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        print("compute-sanitizer is not installed: none of its four tools ran", flush=True)
        return good
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        if left() < 250:
            print(f"compute-sanitizer {tool}: not run, no time left", flush=True)
            continue
        code = run(sanitizer, "--tool", tool, "--error-exitcode", "9", *pytest, "-k", SANITIZED, seconds=45)
        print(f"compute-sanitizer {tool}: exit code {code}", flush=True)
        good &= code in (0, 124)
    return good


def race() -> list[str]:
    """Race what there is time for; the cases that were not reached."""
    from benchmarks.ops import OPS, limit
    from benchmarks.ops.layers import ON_GPU

    unreached = []
    for rows in limit.ON_GPU:
        if left() < 15:
            unreached.append(f"limit {rows.name}")
            continue
        limit.race(rows)
    for dtype in (torch.bfloat16, torch.float32):
        for layer in ON_GPU:
            here = replace(layer, device="cuda", dtype=dtype)
            for op in OPS:
                name = f"{op.__name__.rsplit('.', 1)[-1]} {dtype} {layer.name}"
                if left() < 15:
                    unreached.append(name)
                    continue
                try:
                    op.race(here)
                except (AssertionError, RuntimeError, ValueError) as error:  # the others are worth having
                    print(f"{name}: {error}", flush=True)
                    unreached.append(name)
    return unreached


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
    good = test()
    unreached = race()
    print(f"not measured: {unreached or 'nothing'}", flush=True)
    from benchmarks.harness import RESULTS
    from benchmarks.meter import Cuda

    table(RESULTS / f"{Cuda().name}.jsonl")
    sys.exit(not good)


if __name__ == "__main__":
    main()
