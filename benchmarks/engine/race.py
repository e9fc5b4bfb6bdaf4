"""Checks that all agree, then times those that do: in turns, in processor time, beside a plain forward and backward."""

import gc
import importlib
import importlib.metadata
import importlib.util
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine.nets import Problem
from benchmarks.engine.workloads import AGREE, Result, Workload, difference
from benchmarks.meter import Cpu

__all__ = ["OURS", "PEERS", "Race", "checked", "library", "race", "versions"]

OURS = "infotorch"
PEERS = {
    "ours": "infotorch",
    "torch_func": "torch",
    "loop": "torch",
    "expanded_weights": "torch",
    "plain_hooks": "torch",
    "backpack_extensions": "backpack",
    "opacus_modules": "opacus",
    "nngeometry_objects": "nngeometry",
    "curvlinops_operators": "curvlinops",
}
"""Module of a rival -> the package that it needs."""
PLAIN = "forward+backward"
ROUNDS = (5, 25)
"""Fewest and most turns."""
SECONDS = 2.0
"""For which calls are raced, if that is more than the fewest turns."""
FAR = 8
"""A call that takes so many times as long as the fastest one is timed twice."""

Call = Callable[[], Result]


def library(rival: str) -> ModuleType | None:
    """The rival's forms; None where its package is not installed."""
    if importlib.util.find_spec(PEERS[rival]) is None:
        return None
    return importlib.import_module(f"benchmarks.engine.rivals.{rival}")


def versions() -> dict[str, str]:
    """Of every rival's package that is installed."""
    found = {}
    for rival in PEERS:
        module = library(rival)
        if module is not None and rival != "ours":
            found[module.PACKAGE] = importlib.metadata.version(module.PACKAGE)
    return found


@dataclass(frozen=True, kw_only=True)
class Race:
    """What came of one workload on one network."""

    calls: dict[str, Call] = field(default_factory=dict)
    """Those that agree."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Least processor seconds of those that agree, ``PLAIN`` among them."""
    extra: dict[str, int] = field(default_factory=dict)
    """Bytes at the peak of one call beyond what was there before it and beyond its new result."""
    error: dict[str, float] = field(default_factory=dict)
    """Relative difference from the truth, of all that returned."""
    unable: dict[str, str] = field(default_factory=dict)
    """The message of those that raised."""
    rounds: int = 0

    @property
    def wrong(self) -> dict[str, float]:
        return {name: error for name, error in self.error.items() if not error <= AGREE}

    @property
    def record(self) -> dict[str, Any]:
        plain = self.seconds[PLAIN]
        return {
            "rounds": self.rounds,
            "plain_ms": round(1e3 * plain, 3),
            "ms": {name: round(1e3 * s, 3) for name, s in self.seconds.items() if name != PLAIN},
            "x_plain": {name: round(s / plain, 3) for name, s in self.seconds.items() if name != PLAIN},
            "extra_mib": {name: round(count / 2**20, 1) for name, count in self.extra.items()},
            "error": {name: float(f"{error:.1e}") for name, error in self.error.items()},
            "wrong": sorted(self.wrong),
            "unable": self.unable,
        }


def plain(problem: Problem) -> Call:
    """A forward and a backward of the summed loss to all parameters that require grad."""
    params = list(problem.params.values())

    def call() -> dict[str, Tensor]:
        grads = torch.autograd.grad(problem.total(problem.model(problem.x)), params, allow_unused=True)
        return {str(i): g for i, g in enumerate(grads) if g is not None}

    return call


def race(key: str, workload: Workload, problem: Problem, rivals: list[ModuleType]) -> Race:
    """Every rival's form of a workload, checked, timed and weighed.

    Args:
        key: The workload's name among the forms.
        workload: Its truth.
        problem: Network and batch.
        rivals: Their modules.
    """
    result = checked(key, workload, problem, rivals)
    calls = {**result.calls, PLAIN: plain(problem.apart())}
    seconds, rounds = timed(calls)
    extra = {name: extra_memory(call) for name, call in calls.items()}
    return replace(result, seconds=seconds, extra=extra, rounds=rounds)


def checked(key: str, workload: Workload, problem: Problem, rivals: list[ModuleType]) -> Race:
    """Every rival's form compared with the truth; those that agree are its ``calls``."""
    truth = workload.truth(problem.double())
    result = Race()
    for rival in rivals:
        for name, form in rival.FORMS.get(key, {}).items():
            call, error, message = _tried(form, problem, truth)
            if message is not None:
                result.unable[name] = message
                continue
            result.error[name] = error
            if call is not None and error <= AGREE:
                result.calls[name] = call
    return result


def _tried(form: Callable[[Problem], Call], problem: Problem, truth: Result) -> tuple[Call | None, float, str | None]:
    """A rival's call with its error, or what it raised; on a model of its own, since some of them change it."""
    try:
        call = form(problem.apart())
        got = call()
        if isinstance(got, dict) and (lacking := [name for name, part in got.items() if part is None]):
            return None, 0.0, f"leaves out {', '.join(lacking)}"[:200]
        return call, difference(got, truth), None
    except Exception as error:  # whatever another library raises is what is to be listed
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return None, 0.0, f"{type(error).__name__}: {text}"[:200]


def timed(calls: dict[str, Call]) -> tuple[dict[str, float], int]:
    """Least processor seconds of each call, over rounds in an order that is drawn anew."""
    once = {name: min(_seconds(call) for _ in range(2)) for name, call in calls.items()}
    limit = FAR * min((seconds for name, seconds in once.items() if name != PLAIN), default=0.0)
    racing = [name for name in calls if name == PLAIN or once[name] <= limit]
    rounds = min(max(int(SECONDS / sum(once[name] for name in racing)), ROUNDS[0]), ROUNDS[1])
    order = random.Random(0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order.sample(racing, len(racing)):
                once[name] = min(once[name], _seconds(calls[name]))
    finally:
        gc.enable()
    return once, rounds


def _seconds(call: Call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def extra_memory(call: Call) -> int:
    """Bytes at the peak of one call, beyond what was there and its new result."""

    def tensors() -> tuple[Tensor, ...]:
        result = call()
        return (result,) if isinstance(result, Tensor) else tuple(result.values())

    return Cpu().extra_memory(tensors)
