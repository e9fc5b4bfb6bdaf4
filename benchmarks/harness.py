"""Races an op against pure PyTorch and appends one line per case to benchmarks/results/<device>.jsonl.

Ours and every baseline run in turn, round after round, in an order that is drawn anew, so that a change of the
machine's pace, and the caches that the call before leaves behind, meet all of them. The speed-up is against the fastest
baseline.
"""

import contextlib
import json
import math
import pathlib
import random
import statistics
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from benchmarks.layers import Layer
from benchmarks.meter import Call, Cpu, Cuda, meter_of, parts

Form = Callable[[Tensor, Tensor], Tensor]
RESULTS = pathlib.Path(__file__).parent / "results"
# Up to which relative difference a result is the truth's, for its dtype.
AGREE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Up to which a baseline computes the same: on some processors BLAS adds long sums of float32 numbers one by one.
INEXACT = 5e-3


class Float64(TorchFunctionMode):
    """Every torch function takes its floating-point tensors in float64, and none writes into ``out``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "out"}
        if func.__name__ != "__get__":  # attributes, as the dtype, are asked of the tensor as it is
            args, kwargs = tree_map_only(Tensor, _widened, (args, kwargs))
        return func(*args, **kwargs)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def race(meter: Cpu | Cuda, calls: dict[str, Call]) -> dict[str, list[float]]:
    """Seconds of every call in every round. A call that takes four times the fastest baseline leaves after one."""
    once = {name: min(meter.seconds(call) for _ in range(3)) for name, call in calls.items()}
    limit = 4 * min(time for name, time in once.items() if name != "ours")
    racing = [name for name in calls if name == "ours" or once[name] <= limit]
    counts = {name: max(1, int(meter.timing_seconds / once[name])) for name in racing}
    rounds = int(meter.race_seconds / sum(once[name] * counts[name] for name in racing))
    times: dict[str, list[float]] = {name: [] if name in racing else [once[name]] for name in calls}
    order = random.Random(0)
    for _ in range(min(max(rounds, 9), 101)):
        for name in order.sample(racing, len(racing)):
            times[name].append(meter.seconds(calls[name], counts[name]))
    return times


def bind(forms: dict[str, Form], a: Tensor, b: Tensor) -> dict[str, Call]:
    """Every form as a call on the pair; on the CPU 16-bit numbers are also widened first, as part of the call."""
    calls: dict[str, Call] = {name: partial(form, a, b) for name, form in forms.items()}
    if a.is_cpu and a.itemsize == 2:
        calls |= {f"float, {name}": lambda form=form: form(a.float(), b.float()) for name, form in forms.items()}
    return calls


def _commit() -> str:
    """Nothing where there is no repository, or no git."""
    try:
        return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def _flat(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([x.detach().double().flatten() for x in parts(result)])


def _fastest(times: dict[str, list[float]]) -> str:
    """The baseline of the lowest median."""
    return min((name for name in times if name != "ours"), key=lambda name: statistics.median(times[name]))


def compare(
    op: str, layer: Layer, ours: Call, baselines: dict[str, Call], *, work: float, moved: float,
    truth: Call | None = None, **sizes: int,
) -> float:  # fmt: skip
    """Check all against the truth in float64, race them, print a row, append the record.

    Args:
        op: The op's name.
        layer: Its pair's sizes, and whether the fastest baseline is raced once more as ``torch.compile`` makes it.
        ours: The op.
        baselines: What a good PyTorch user would write, by name.
        work: Multiply-adds that the op cannot avoid.
        moved: Bytes that it cannot avoid to read and write; the floor is the longer of both times.
        truth: The result in float64. Default: the first baseline's, its torch functions in float64.
        sizes: What else there is a size of, by the letters of the docs.

    Returns:
        The fastest baseline's median time over ours.
    """
    meter, sizes = meter_of(layer.device), {**sizes, **layer.sizes}
    with Float64() if truth is None else contextlib.nullcontext():
        expected = _flat((truth or next(iter(baselines.values())))())
    inexact: dict[str, float] = {}

    def agreeing(name: str, call: Call) -> Call:
        error = float((_flat(call()) - expected).norm() / expected.norm())
        exact = AGREE[layer.dtype]
        most = exact if name == "ours" or layer.dtype == torch.float64 else max(exact, INEXACT)
        assert error <= most, f"{op} {layer.name}: {name} differs by {error:.1e}"
        if error > exact:
            inexact[name] = float(f"{error:.1e}")
        return call  # a fast wrong answer is none

    calls = {name: agreeing(name, call) for name, call in {"ours": ours, **baselines}.items()}
    rate, speed = meter.gemm_rate(layer.dtype), meter.bandwidth()
    times = race(meter, calls)
    if layer.compiled:
        torch.compiler.reset()  # a form has one code for all layers, which torch would stop compiling after a few
        best = _fastest(times)
        name = f"compiled: {best}"
        calls[name] = agreeing(name, torch.compile(calls[best], dynamic=False))
        times |= race(meter, {"ours": ours, name: calls[name]})
    rate = max(rate, meter.gemm_rate(layer.dtype))
    memory = {name: meter.extra_memory(call) for name, call in calls.items()}
    median = {name: statistics.median(values) for name, values in times.items()}
    best = _fastest(times)
    speedup = median[best] / median["ours"]
    floor = max(work / rate, moved / speed)
    record = {
        "op": op, "case": layer.name, **sizes, "dtype": str(layer.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": _commit(), "device": meter.model,
        "gemm_gflops": round(2 * rate / 1e9, 1), "copy_gb_per_s": round(speed / 1e9, 1),
        "ms": {name: round(1e3 * value, 4) for name, value in median.items()},
        "spread_ms": {
            name: round(1e3 * statistics.median(abs(x - median[name]) for x in values), 4)
            for name, values in times.items()
        },
        "extra_mib": {name: round(value / 2**20, 1) for name, value in memory.items()},
        "inexact": inexact, "best_baseline": best,
        "speedup": round(speedup, 3), "fraction_of_floor": round(floor / median["ours"], 3),
        "floor": "flops" if work / rate >= moved / speed else "bytes",
    }  # fmt: skip
    shape = " ".join(f"{letter}={size}" for letter, size in sizes.items())
    print(
        f"{op:8} {layer.name:24} {shape:34} {1e3 * median['ours']:9.3f} ms  x{speedup:5.2f} of {best} "
        f"({1e3 * median[best]:.3f} ms)  {100 * floor / median['ours']:4.0f}% of the {record['floor']}' pace  "
        f"extra {memory['ours'] / 2**20:.1f} MiB, {best} {memory[best] / 2**20:.1f} MiB"
        + "".join(f"  ({name} is off by {error})" for name, error in inexact.items()),
        flush=True,
    )
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{meter.name}.jsonl").open("a") as out:
        out.write(json.dumps(record) + "\n")
    return speedup


def summary(op: str, speedups: list[float]) -> None:
    mean = math.exp(statistics.fmean(map(math.log, speedups)))
    print(f"{op:8} geometric mean x{mean:.2f}, lowest x{min(speedups):.2f}", flush=True)
