"""JSON lines in benchmarks/results, one a measurement."""

import json
import os
import pathlib
import platform
import subprocess
from typing import Any

import torch

RESULTS = pathlib.Path(__file__).parent / "results"


def processor() -> str:
    """The processor's name as the kernel gives it."""
    described = pathlib.Path("/proc/cpuinfo")  # Linux alone has one
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def append(file: str, benchmark: str, case: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write ``measured`` to ``file``, with what is needed to repeat it."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    line = {
        "benchmark": benchmark,
        "case": case,
        **measured,
        "machine": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit,
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / file).open("a") as out:
        out.write(json.dumps(line) + "\n")


def read(file: str) -> list[dict[str, Any]]:
    """The lines of ``file``, oldest first; none where there is no file."""
    path = RESULTS / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
