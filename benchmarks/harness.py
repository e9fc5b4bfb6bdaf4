"""Races an op against pure PyTorch and appends one line per case to benchmarks/results/<device>.jsonl.

Ours and every baseline run in turn, round after round, in an order that is drawn anew, so that a change of the
machine's pace, and the caches that the call before leaves behind, meet all of them. The speed-up is against the fastest
baseline.
"""

import json
import math
import pathlib
import random
import statistics
import subprocess

import torch
from torch import Tensor

from benchmarks.meter import Call, Cpu, Cuda, meter_of

RESULTS = pathlib.Path(__file__).parent / "results"
AGREE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}  # up to which relative difference two agree


def race(meter: Cpu | Cuda, calls: dict[str, Call]) -> dict[str, list[float]]:
    """Seconds of every call in every round. A call that takes four times the fastest baseline leaves after one."""
    once = {name: min(meter.seconds(call) for _ in range(3)) for name, call in calls.items()}
    limit = 4 * min(time for name, time in once.items() if name != "ours")
    racing = [name for name in calls if name == "ours" or once[name] <= limit]
    counts = {name: max(1, int(2e-3 / once[name])) for name in racing}
    rounds = int(meter.race_seconds / sum(once[name] * counts[name] for name in racing))
    times: dict[str, list[float]] = {name: [] if name in racing else [once[name]] for name in calls}
    order = random.Random(0)
    for _ in range(min(max(rounds, 9), 101)):
        for name in order.sample(racing, len(racing)):
            times[name].append(meter.seconds(calls[name], counts[name]))
    return times


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def _flat(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    tensors = (result,) if isinstance(result, Tensor) else result
    return torch.cat([x.detach().double().flatten() for x in tensors])


def compare(
    op: str,
    case: str,
    sizes: dict[str, int],
    ours: Call,
    baselines: dict[str, Call],
    *,
    work: float,
    moved: float = 0,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Check that all agree, race them, print a row, append the record.

    On a GPU, in bfloat16, the fastest baseline is raced once more as ``torch.compile`` makes it.

    Args:
        op: The op's name.
        case: The layer's name.
        sizes: Its sizes, by the letters of the docs.
        ours: The op.
        baselines: What a good PyTorch user would write, by name.
        work: Multiply-adds that the op cannot avoid.
        moved: Bytes that it cannot avoid to read and write; the floor is the longer of both times.
        dtype: Of the inputs.

    Returns:
        The fastest baseline's median time over ours.
    """
    result = ours()
    meter = meter_of(result if isinstance(result, Tensor) else result[0])
    truth = _flat(result)
    for name, call in baselines.items():
        error = float((_flat(call()) - truth).norm() / truth.norm())
        assert error <= AGREE[dtype], f"{op} {case}: {name} differs by {error:.1e}"  # a fast wrong answer is none
    calls = {"ours": ours, **baselines}
    memory = {name: meter.extra_memory(call) for name, call in calls.items()}
    rate, speed = meter.gemm_rate(dtype), meter.bandwidth()
    times = race(meter, calls)
    if isinstance(meter, Cuda) and dtype == torch.bfloat16:  # a compilation takes seconds
        best = min(baselines, key=lambda name: statistics.median(times[name]))
        compiled = torch.compile(baselines[best], dynamic=False)
        times |= race(meter, {"ours": ours, f"compiled: {best}": compiled})
        memory[f"compiled: {best}"] = meter.extra_memory(compiled)
    rate = max(rate, meter.gemm_rate(dtype))
    median = {name: statistics.median(values) for name, values in times.items()}
    best = min((name for name in median if name != "ours"), key=lambda name: median[name])
    speedup = median[best] / median["ours"]
    floor = max(work / rate, moved / speed)
    record = {
        "op": op, "case": case, **sizes, "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": _commit(), "device": meter.model,
        "gemm_gflops": round(2 * rate / 1e9, 1), "copy_gb_per_s": round(speed / 1e9, 1),
        "ms": {name: round(1e3 * value, 4) for name, value in median.items()},
        "spread_ms": {
            name: round(1e3 * statistics.median(abs(x - median[name]) for x in values), 4)
            for name, values in times.items()
        },
        "extra_mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "best_baseline": best, "speedup": round(speedup, 3), "fraction_of_floor": round(floor / median["ours"], 3),
        "floor": "flops" if work / rate >= moved / speed else "bytes",
    }  # fmt: skip
    shape = " ".join(f"{letter}={size}" for letter, size in sizes.items())
    print(
        f"{op:8} {case:24} {shape:34} {1e3 * median['ours']:9.3f} ms  x{speedup:5.2f} of {best} "
        f"({1e3 * median[best]:.3f} ms)  {100 * floor / median['ours']:4.0f}% of the {record['floor']}' pace  "
        f"extra {memory['ours'] / 2**20:.1f} MiB, {best} {memory[best] / 2**20:.1f} MiB",
        flush=True,
    )
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{meter.name}.jsonl").open("a") as out:
        out.write(json.dumps(record) + "\n")
    return speedup


def summary(op: str, speedups: list[float]) -> None:
    mean = math.exp(statistics.fmean(map(math.log, speedups)))
    print(f"{op:8} geometric mean x{mean:.2f}, lowest x{min(speedups):.2f}", flush=True)
