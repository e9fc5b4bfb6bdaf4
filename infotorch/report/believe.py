"""Why believe it: the checks that a run carries, its settings, versions and hashes, and the command that repeats it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from infotorch.report.numbers import count, directions, number, percent, quantity
from infotorch.report.view import View

__all__ = ["checks", "command", "facts", "warnings"]

_NAMED = 10  # samples named in a sentence; the others are counted
_LONGEST = 300  # characters of one setting


def checks(view: View, nearest: Mapping[int, list[tuple[int, float]]]) -> list[tuple[str, str, str]]:
    """What was checked, with what result, and the kind of that number."""
    found = []
    if view.reliable is not None:
        bad = np.flatnonzero(~view.reliable)
        text = (
            f"{count(len(view) - len(bad))} of {count(len(view))} samples ({percent(len(view) - len(bad), len(view))})"
        )
        if len(bad):
            text += f"; not reliable: {_named([view.ids[i] for i in bad])}"
        found.append(("Conditioning: scores marked reliable", text, "diagnostic"))
    for score in view.scores:
        if score.stderr is not None:
            middle = quantity(float(np.median(score.stderr)), score.unit)
            found.append((f"Standard error of {score.words}", f"median {middle}", score.kind))
    note = view.notes.get("retraining")
    if note:
        text = f"Pearson {number(note['pearson'])}, Spearman {number(note['spearman'])}; {note['what']}"
        found.append(("True retraining", text, "diagnostic"))
    for sketch in view.notes.get("fidelity") or []:
        if sketch["why_not"]:
            found.append(("Sketched against exact scores", f"not compared: {sketch['why_not']}", "diagnostic"))
        for name, with_exact in sketch["columns"].items():
            text = (
                f"Spearman {_or_none(with_exact['spearman'])}, Pearson {_or_none(with_exact['pearson'])}, "
                f"{percent(round(100 * with_exact['top_decile']), 100)} of the highest tenth in common, "
                f"on {count(sketch['num_samples'])} samples; {count(sketch['dim'])} numbers for "
                f"{directions(sketch['effective_dimension'], sketch['dim'])} that training uses"
            )
            found.append((f"Sketched against exact {name.replace('_', ' ')}", text, "diagnostic"))
    twins = [i for i, near in nearest.items() if near and near[0][1] < 1e-6]
    if nearest:
        text = f"{count(len(twins))} samples have the same picture as another"
        if twins:
            text += f": {_named([view.ids[i] for i in twins])}"
        found.append(("Identical inputs", text, "diagnostic"))
    return found


def _or_none(value: float | None) -> str:
    return "undefined" if value is None else number(value)


def warnings(view: View) -> list[str]:
    """The run's own warnings."""
    noted = view.notes.get("warnings") or []
    return [str(text) for text in (noted if isinstance(noted, list) else [noted])]


def facts(view: View) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists of name and value: settings, data, versions, hashes, where each score comes from."""
    manifest = view.manifest
    config = manifest.get("command") or {}
    settings = view.notes.get("settings") or {key: value for key, value in config.items() if key != "argv"}
    groups = [
        ("Settings", flat(settings)),
        ("Data", flat(manifest.get("data") or {})),
        ("Versions and hashes", flat(manifest.get("provenance") or {})),
        ("Joined to it", flat(list(joined)) if (joined := manifest.get("joined")) else []),
        ("Scores", [(score.name, f"{score.source}; {score.kind}, unit {score.unit}") for score in view.scores]),
        ("Run", [(key, str(manifest[key])) for key in ("run", "schema_version", "rows") if key in manifest]),
    ]
    return [(title, pairs) for title, pairs in groups if pairs]


def command(view: View) -> str:
    """The command line that repeats the run; its configuration as JSON where it was started from Python."""
    config = view.manifest.get("command") or {}
    argv = config.get("argv") if isinstance(config, Mapping) else None
    if isinstance(argv, str):
        return argv
    if argv:
        return shlex.join(map(str, argv))
    return json.dumps(config, indent=2, ensure_ascii=False, default=str)


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and texts of a nested configuration; an entry of a list goes by its own name, else by its place."""
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        named = isinstance(value[0], Mapping) and all(isinstance(inner, Mapping) and "name" in inner for inner in value)
        if named and len({inner["name"] for inner in value}) == len(value):
            rest = [({k: v for k, v in inner.items() if k != "name"} or "yes", inner["name"]) for inner in value]
            return [pair for inner, name in rest for pair in flat(inner, f"{prefix}.{name}")]
        return [pair for i, inner in enumerate(value) for pair in flat(inner, f"{prefix}[{i}]")]
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [(prefix, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({count(len(text))} characters)")]


def _named(ids: list[str]) -> str:
    shown = ", ".join(text if len(text) <= 40 else f"{text[:39]}…" for text in ids[:_NAMED])
    return f"{shown} and {count(len(ids) - _NAMED)} more" if len(ids) > _NAMED else shown
