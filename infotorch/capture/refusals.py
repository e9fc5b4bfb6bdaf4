"""Right, or a listed error: what capture checks before a number leaves it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from infotorch.capture.hooks import Call
from infotorch.capture.layers.table import RULES
from infotorch.errors import CaptureError, ConfigError, mebibytes

__all__ = ["TooLarge", "astray", "check_inputs_kept", "check_memory", "check_real", "uncovered"]


class TooLarge(ConfigError):
    """The pairs do not fit; what takes a batch in parts then makes smaller ones."""


def astray(calls: Sequence[Call], counted: Mapping[str, int]) -> dict[str, int]:
    """{parameter: uses in the graph less captured products}, of those where the two differ."""
    captured: Counter[str] = Counter()
    for call in calls:
        captured.update(call.names)
    return {name: count - captured[name] for name, count in counted.items() if count != captured[name]}


def uncovered(
    modules: Mapping[str, nn.Module],
    missed: Mapping[str, int],
    apart: Mapping[str, Sequence[str]],
) -> CaptureError:
    """The refusal that lists every selected parameter without a pair.

    Args:
        modules: The model's, by path.
        missed: From :func:`astray`.
        apart: Path of each layer that does not carry the batch, and its selected parameters.
    """
    rows = [*_offenders(modules, missed)]
    for path, names in apart.items():
        what = f"{_ends(names)}: must see one input a sample, [N, ...]"
        rows.append((path or "model", type(modules[path]).__name__, what))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {path:<{widths[0]}}  {kind:<{widths[1]}}  {what}" for path, kind, what in rows]
    return CaptureError(
        "capture: every trainable parameter must belong to a supported layer; "
        f"got {len(rows)} that {'does' if len(rows) == 1 else 'do'} not:\n"
        + "\n".join(lines)
        + '\nFreeze them or pass params=[...] without them; or pass fallback="func" to take per-sample gradients\n'
        "of these parameters by torch.func (slower: one vmap over the batch)."
    )


def check_real(selected: Mapping[str, nn.Parameter]) -> None:
    """No rule knows which of the two conventions a complex gradient would follow."""
    for name, parameter in selected.items():
        if parameter.is_complex():
            raise CaptureError(
                f"capture: parameters must be real; got {name!r} of {parameter.dtype}. Leave it out with params=[...]."
            )


def check_inputs_kept(calls: Sequence[Call]) -> None:
    """No layer's input was overwritten between its forward and now; torch itself does not notice here."""
    for call in calls:
        if call.weight and call.changed:
            raise CaptureError(
                f"capture: the input of {call.layer.path!r} must stay as the layer saw it; got an in-place change "
                "after use. Replace the in-place operation on it, or clone() before."
            )


def check_memory(need: int, memory_limit: int | None) -> None:
    """The pairs' bytes fit, judged before any backward."""
    if memory_limit is not None and need > memory_limit:
        raise TooLarge(
            f"capture: memory_limit must hold the batch's pairs (needs {mebibytes(need)}); got "
            f"{mebibytes(memory_limit)}. Raise memory_limit, pass fewer samples, or restrict params."
        )


def _offenders(modules: Mapping[str, nn.Module], missed: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """(path, kind, what) a line: a module that no rule knows, or a parameter used beside its layer."""
    by_module: dict[str, list[str]] = {}
    for name in missed:
        by_module.setdefault(name.rpartition(".")[0], []).append(name)
    rows = []
    for path, names in by_module.items():
        module = modules[path]
        if type(module) not in RULES and type(module).__module__.startswith("torch."):
            rows.append((path or "model", type(module).__name__, _ends(names)))
            continue
        for name in names:
            times = f"{missed[name]} time{'s' if missed[name] != 1 else ''}"
            what = f"used {times} outside a captured layer" if missed[name] > 0 else "replaced for the forward"
            rows.append((name, f"parameter of {type(module).__name__}", what))
    return rows


def _ends(names: Sequence[str]) -> str:
    return ", ".join(name.rpartition(".")[2] for name in names)
