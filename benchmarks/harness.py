"""Races an op against pure PyTorch and appends one line per case to benchmarks/results/<device>.jsonl.

Ours and every baseline run in turn, round after round, in an order that rotates, so that a change of the machine's
pace meets all of them. The speed-up is against the fastest baseline.
"""

import ctypes
import json
import math
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Callable

import torch
from torch import Tensor

RESULTS = pathlib.Path(__file__).parent / "results"
SECONDS = 2.0  # of one case's race
AGREE = 1e-4  # relative difference in Frobenius norm up to which a baseline computes the same

Result = Tensor | tuple[Tensor, ...]
Call = Callable[[], Result]


def seconds(call: Call, count: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def race(calls: dict[str, Call]) -> dict[str, list[float]]:
    """Seconds of every call in every round. A call that takes four times the fastest baseline leaves after one."""
    once = {name: min(seconds(call) for _ in range(3)) for name, call in calls.items()}
    limit = 4 * min(time for name, time in once.items() if name != "ours")
    racing = [name for name in calls if name == "ours" or once[name] <= limit]
    counts = {name: max(1, int(2e-3 / once[name])) for name in racing}
    rounds = int(SECONDS / sum(once[name] * counts[name] for name in racing))
    times: dict[str, list[float]] = {name: [] if name in racing else [once[name]] for name in calls}
    for turn in range(min(max(rounds, 9), 101)):
        for k in range(len(racing)):
            name = racing[(k + turn) % len(racing)]
            times[name].append(seconds(calls[name], counts[name]))
    return times


def gemm_rate() -> float:
    """Multiply-adds a second that torch reaches on square float32 matrices, the best of some tries."""
    x = torch.randn(1024, 1024)
    return 1024**3 / min(seconds(lambda: x @ x) for _ in range(8))


def bandwidth() -> float:
    """Bytes a second, read and written, that torch's copy reaches on 64 MiB, the best of some tries."""
    x = torch.zeros(1 << 24)
    y = torch.empty_like(x)
    return 2 * 4 * x.numel() / min(seconds(lambda: y.copy_(x)) for _ in range(8))


def _memory(field: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) * 1024


def extra_memory(call: Call) -> int:
    """Bytes that one call takes at its peak beyond what was there before it and beyond its result.

    Memory that the allocator keeps is handed back first, and the kernel's high-water mark is reset (Linux).
    """
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS:")
    result = call()
    peak = _memory("VmHWM:")
    return max(0, peak - before - flat(result).numel() * flat(result).element_size())


def flat(result: Result) -> Tensor:
    """All numbers that a call returned, one after another."""
    return result.flatten() if isinstance(result, Tensor) else torch.cat([part.flatten() for part in result])


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def compare(
    op: str, case: str, sizes: dict[str, int], ours: Call, baselines: dict[str, Call], *, work: float, moved: float = 0
) -> float:
    """Check that all agree, race them, print a row, append the record.

    Args:
        op: The op's name.
        case: The layer's name.
        sizes: Its sizes, by the letters of the docs.
        ours: The op.
        baselines: What a good PyTorch user would write, by name.
        work: Multiply-adds that the op cannot avoid.
        moved: Bytes that it cannot avoid to read and write; the floor is the longer of both times.

    Returns:
        The fastest baseline's median time over ours.
    """
    truth = flat(ours()).double()
    for name, call in baselines.items():
        error = float((flat(call()).double() - truth).norm() / truth.norm())
        assert error <= AGREE, f"{op} {case}: {name} differs by {error:.1e}"  # a fast wrong answer is no answer
    calls = {"ours": ours, **baselines}
    memory = {name: extra_memory(call) for name, call in calls.items()}
    rate, speed = gemm_rate(), bandwidth()
    times = race(calls)
    rate = max(rate, gemm_rate())
    median = {name: statistics.median(values) for name, values in times.items()}
    best = min(baselines, key=lambda name: median[name])
    speedup = median[best] / median["ours"]
    floor = max(work / rate, moved / speed)
    record = {
        "op": op, "case": case, **sizes, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "commit": _commit(), "cpu": platform.processor() or platform.machine(),
        "gemm_gflops": round(2 * rate / 1e9, 1), "copy_gb_per_s": round(speed / 1e9, 1),
        "ms": {name: round(1e3 * value, 4) for name, value in median.items()},
        "spread_ms": {
            name: round(1e3 * statistics.median(abs(x - median[name]) for x in values), 4)
            for name, values in times.items()
        },
        "extra_mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "best_baseline": best, "speedup": round(speedup, 3), "fraction_of_floor": round(floor / median["ours"], 3),
    }  # fmt: skip
    shape = " ".join(f"{letter}={size}" for letter, size in sizes.items())
    print(
        f"{op:6} {case:22} {shape:34} {1e3 * median['ours']:9.3f} ms  x{speedup:5.2f} of {best} "
        f"({1e3 * median[best]:.3f} ms)  {100 * floor / median['ours']:4.0f}% of the floor's pace  "
        f"extra {memory['ours'] / 2**20:.1f} MiB, {best} {memory[best] / 2**20:.1f} MiB",
        flush=True,
    )
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"cpu-{platform.machine()}.jsonl").open("a") as out:
        out.write(json.dumps(record) + "\n")
    return speedup


def summary(op: str, speedups: list[float]) -> None:
    mean = math.exp(statistics.fmean(map(math.log, speedups)))
    print(f"{op:6} geometric mean x{mean:.2f}, lowest x{min(speedups):.2f}", flush=True)
