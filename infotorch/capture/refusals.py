"""Right, or a listed error: what capture checks before a number leaves it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from infotorch.capture.hooks import Layer, Use, recording
from infotorch.capture.layers.table import RULES
from infotorch.errors import CaptureError, ConfigError
from infotorch.task import Task, num_samples, select, tensors_of

__all__ = ["check_batch_axis", "check_complete", "check_inputs_kept", "check_memory", "mebibytes"]


def mebibytes(count: float) -> str:
    """A number of bytes, rounded up."""
    return f"{-(-int(count) // 2**20)} MiB"


def check_batch_axis(task: Task, x: Any, layers: list[Layer]) -> None:
    """Every layer's first size must follow the batch's: a position embedding looked up once for all samples does not.

    A forward of two samples (three, where the batch has two) tells which sizes follow, also where T = N by chance.
    """
    N = num_samples(x)
    probe = 3 if N == 2 else 2
    few = select(x, torch.zeros(probe, dtype=torch.int64, device=next(iter(tensors_of(x))).device))
    with torch.enable_grad(), recording(layers) as uses:
        task.outputs(few)
    if apart := dict.fromkeys(use.layer.path for use in uses if not use.carries(probe)):
        raise _not_batched(apart)


def check_complete(
    model: nn.Module, selected: Mapping[str, nn.Parameter], uses: Sequence[Use], counted: Mapping[str, int], N: int
) -> None:
    """Every use of a selected parameter in the graph is a captured call of its layer, and every call carries N."""
    captured: Counter[str] = Counter()
    for use in uses:
        captured.update(name for name in (use.layer.weight, use.layer.bias) if name)
    if apart := dict.fromkeys(use.layer.path for use in uses if not use.carries(N)):
        raise _not_batched(apart)
    astray = {name: count - captured[name] for name, count in counted.items() if count != captured[name]}
    if not astray:
        return
    rows = list(_offenders(model, selected, astray))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {path:<{widths[0]}}  {kind:<{widths[1]}}  {what}" for path, kind, what in rows]
    raise CaptureError(
        "capture: every trainable parameter must belong to a supported layer; "
        f"got {len(rows)} that {'does' if len(rows) == 1 else 'do'} not:\n"
        + "\n".join(lines)
        + "\nFreeze them or pass params=[...] without them."
    )


def check_inputs_kept(uses: Sequence[Use]) -> None:
    """No layer's input was overwritten between its forward and now; torch itself does not notice here."""
    for use in uses:
        if use.layer.weight and use.changed:
            raise CaptureError(
                f"capture: the input of {use.layer.path!r} must stay as the layer saw it; got an in-place change after "
                "use. Replace the in-place operation on it, or clone() before."
            )


def check_memory(uses: Sequence[Use], num_seeds: int, memory_limit: int) -> None:
    """The pairs fit, judged before any backward."""
    need = sum(use.nbytes(num_seeds) for use in uses)
    if need > memory_limit:
        raise ConfigError(
            f"capture: memory_limit must hold the batch's pairs (needs {mebibytes(need)}); got "
            f"{mebibytes(memory_limit)}. Raise memory_limit, pass fewer samples, or restrict params."
        )


def _not_batched(paths: Mapping[str, None]) -> CaptureError:
    return CaptureError(
        "capture: every layer with a selected parameter must see one input a sample, [N, ...]; got another first size "
        f"at {', '.join(map(repr, paths))}. Expand its input to the batch, say ids.expand(N, -1), freeze it, or pass "
        "params=[...] without it."
    )


def _offenders(
    model: nn.Module, selected: Mapping[str, nn.Parameter], astray: Mapping[str, int]
) -> list[tuple[str, str, str]]:
    """(path, kind, what) a line: a module that no rule knows, or a parameter used beside its layer."""
    modules = dict(model.named_modules())
    by_module: dict[str, list[str]] = {}
    for name in astray:
        by_module.setdefault(name.rpartition(".")[0], []).append(name)
    rows = []
    for path, names in by_module.items():
        module = modules[path]
        if type(module) not in RULES and type(module).__module__.startswith("torch."):
            rows.append((path or "model", type(module).__name__, ", ".join(n.rpartition(".")[2] for n in names)))
            continue
        for name in names:
            times = f"{astray[name]} time{'s' if astray[name] != 1 else ''}"
            what = f"used {times} outside a captured layer" if astray[name] > 0 else "replaced for the forward"
            rows.append((name, f"parameter of {type(module).__name__}", what))
    return rows
