"""The chapter of generalization bounds: bounds beside the gap, what they are made of, and the pairs behind them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from infotorch.report.bounds_curves import curves
from infotorch.report.bounds_pairs import pairs
from infotorch.report.bounds_series import GAP, Point, named, points, trained, within
from infotorch.report.bounds_terms import information, spread, terms
from infotorch.report.figure import Chapter
from infotorch.report.numbers import bits, count, number, quantity
from infotorch.report.view import View, listed

__all__ = ["bounds"]


def bounds(view: View) -> Chapter | None:
    """Needs the note "bounds" with at least one point."""
    note = view.notes.get("bounds")
    if not note or not note["series"]:
        return None
    series = points(note)
    last = trained(series)
    figures = [*curves(series), information(last[-1]), terms(last[-1], last), spread(last[-1])]
    return Chapter(
        id="bounds",
        title="Bounds on the generalization gap",
        says=_says(series, last),
        figures=tuple(figure for figure in figures if figure is not None),
        does_not_say=_does_not_say(note, series),
        pairs=pairs(view, note),
        warnings=_warnings(note, series),
    )


def _says(series: Sequence[Point], last: Sequence[Point]) -> str:
    point = last[-1]
    return " ".join([_where(point), _main(point), _information(point), *_along(series, last)])


def _where(point: Point) -> str:
    report = point.report
    after = "" if point.checkpoint is None else f", after epoch {count(point.checkpoint)}"
    corrected = "" if report["correction"] == "none" else f", bias corrected by {report['correction']}"
    return (
        f"{point.runs} runs on {count(point.n)} training samples of {count(report['num_classes'])} classes "
        f"({report['masks']} masks{corrected}){after}: the mean train error is "
        f"{number(100 * point.error('train_error'))} %, the test error {number(100 * point.error('test_error'))} % "
        "(estimates)."
    )


def _main(point: Point) -> str:
    id, bound = next(iter(point.bounds.items()))
    value, seen = bound["value"], point.seen(id)
    interval = "" if bound["interval"] is None else f", 95 % interval {within(bound['interval'])}"
    text = f"The bound {named(id)}, on the {bound['of']} is {number(value)} (estimate{interval})"
    if seen is not None:
        text += f"; the {'gap' if bound['of'] == GAP else 'test error'} seen is {number(seen)} (estimate)"
        if 0 < seen <= value:
            text += f": the bound is {number(value / seen)} times as large"
        elif seen > value:
            text += ": larger than the bound, which an estimate does not exclude"
    vacuous = [other for other, one in point.bounds.items() if one["vacuous"]]
    if not vacuous:
        return f"{text}."
    which = "All bounds are" if len(vacuous) == len(point.bounds) else f"{', '.join(vacuous)}:"
    return f"{text}. {which} vacuous: at 1 or above, where a bound says nothing of a loss between 0 and 1."


def _information(point: Point) -> str:
    bound = next(iter(point.bounds.values()))
    found, m = bound["information_mean"], bound["m"]
    of = "a pair" if m == 1 else f"{count(m)} pairs"
    what = "predictions" if next(iter(point.bounds)) == "fcmi" else "losses"
    text = (
        f"The {what} on {of} tell {quantity(found, 'nats')} ({bits(found, 'nats')}) of which sample was trained "
        f"on (estimate), of {quantity(m * math.log(2), 'nats')} at most; chance alone shows "
        f"{quantity(bound['null_mean'], 'nats')}, a bound of {number(bound['null_value'])} (diagnostics)"
    )
    if bound["value"] <= bound["null_value"]:
        text += ": the bound is no larger than that"
    return f"{text}."


def _along(series: Sequence[Point], last: Sequence[Point]) -> list[str]:
    """What becomes of the main bound from the first size to the last, and from the first epoch to the last."""
    found = []
    if last[0].n < last[-1].n:
        found.append(_change(f"From n = {count(last[0].n)} to n = {count(last[-1].n)}", last[0], last[-1]))
    n = last[-1].n
    epochs = [point for point in series if point.n == n and point.checkpoint is not None]
    if len(epochs) > 1:
        of = f", n = {count(n)}," if last[0].n < n else ""
        first, end = (f"epoch {count(point.checkpoint or 0)}" for point in (epochs[0], epochs[-1]))
        found.append(_change(f"From {first} to {end}{of}", epochs[0], epochs[-1]))
    return found


def _change(along: str, first: Point, last: Point) -> str:
    id = next(iter(last.bounds))
    if id not in first.bounds:
        return f"{along} the gap goes from {number(first.report['gap'])} to {number(last.report['gap'])} (estimate)."
    return (
        f"{along} {id} goes from {number(first.bounds[id]['value'])} to {number(last.bounds[id]['value'])}, the gap "
        f"from {number(first.report['gap'])} to {number(last.report['gap'])} (estimates)."
    )


def _does_not_say(note: Mapping[str, Any], series: Sequence[Point]) -> str:
    parts = [note["statement"], "It bounds the expected gap over training sets, not the gap of this run."]
    if any(bound["of"] != GAP for point in series for bound in point.bounds.values()):
        parts.append("Bounds on the risk are on the error over the population, not on the gap.")
    if any(len(point.report["num_runs"]) > 1 for point in series):
        parts.append(
            "The supersamples are drawn from one pool and overlap, so their spread, and intervals made of it, are too "
            "small."
        )
    if any(len(point.report["num_runs"]) == 1 for point in series):
        parts.append("Of a single supersample the spread is not known.")
    parts.append("It says nothing of other data, another learner, or how far the gaps of single runs lie apart.")
    return " ".join(parts)


def _warnings(note: Mapping[str, Any], series: Sequence[Point]) -> tuple[str, ...]:
    """The note's and its reports', each once, in their words; with the sizes and epochs that have it, if not all."""
    having: dict[str, list[Point]] = {warning: [] for warning in note["warnings"]}
    for point in series:
        for warning in point.report["warnings"]:
            having.setdefault(warning, []).append(point)
    return tuple(
        f"{_at(some, series)}: {warning}" if 0 < len(some) < len(series) else warning
        for warning, some in having.items()
    )


def _at(some: Sequence[Point], series: Sequence[Point]) -> str:
    """``n = 25, epochs 5 to 20; n = 75``: which of the series these are."""
    sizes = list(dict.fromkeys(point.n for point in series))
    parts = []
    for n in sizes:
        epochs = [point.checkpoint for point in series if point.n == n]
        own = [point.checkpoint for point in some if point.n == n]
        if own:
            named = [f"n = {count(n)}"] if len(sizes) > 1 else []
            parts.append(", ".join([*named, *([_epochs(own, epochs)] if len(own) < len(epochs) else [])]))
    return "; ".join(parts)


def _epochs(own: Sequence[int | None], epochs: Sequence[int | None]) -> str:
    names = ["the end" if epoch is None else count(epoch) for epoch in own]
    first = epochs.index(own[0])
    if len(own) > 2 and list(own) == list(epochs[first : first + len(own)]):
        return f"epochs {names[0]} to {names[-1]}"
    return f"epoch{'s' if len(own) > 1 else ''} {listed(names)}"
