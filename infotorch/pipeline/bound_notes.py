"""Bounds kept as a run: scores of the examples, and what the report draws."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infotorch import bounds as room
from infotorch import errors, store
from infotorch.bounds.estimates.estimation import report_of
from infotorch.bounds.estimates.examples import pairs_of, revealing_by_chance, scores_of
from infotorch.bounds.estimates.taken import Taken, taken_runs
from infotorch.bounds.grids.grid import Grid
from infotorch.data import Samples, pictures_of
from infotorch.pipeline.keeping import keep_samples
from infotorch.table import Estimate, Scores

__all__ = ["keep_bounds"]

WHERE = "keep_bounds"
MOST_PAIRS = 12
REVEALING = 0.5
"""Of ln 2, the most that a pair's predictions can tell of its bit."""
CMI = "arXiv 2110.01584, section 4.1"


def keep_bounds(
    grids: Sequence[Grid],
    out: str | Path,
    *,
    experiment: room.Experiment | None = None,
    bounds: Sequence[str] = ("fcmi",),
    m: int = 1,
    correction: Any = "none",
    allow_partial: bool = False,
    command: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> store.Run:
    """Estimates from one or several grids of runs, as a run that ``infotorch report`` shows.

    The run has a row for each item of the pool that is in a supersample of the grid with the largest n, with the
    columns of ``example_scores``.

    Args:
        grids: Runs of plans over one pool; of different n, they are drawn over n, and each over its checkpoints.
        out: Folder of the run: new, empty, or written by this very call.
        experiment: What was trained, for the items' pictures, texts and names.
        bounds: As of ``infotorch.bounds.estimate``.
        m: As there.
        correction: As there.
        allow_partial: As there.
        command: What else the run follows from, for its manifest.
        notes: What the report shows besides, by name.

    Returns:
        The finished run.

    Raises:
        ConfigError: An option is out of range, or the grids have different pools.
        StoreError: As of ``estimate``, or ``out`` holds something else.
    """
    grids = sorted(grids, key=lambda grid: grid.plan.n)
    if len({grid.labels_digest for grid in grids}) != 1:
        raise errors.ConfigError(
            f"{WHERE}: grids must be runs over one pool; got {len(grids)} of different labels. Keep them apart."
        )
    if experiment is not None and not np.array_equal(np.asarray(experiment.labels), np.asarray(grids[0].labels)):
        raise errors.ConfigError(
            f"{WHERE}: experiment must be what the runs are of; got one with other labels than theirs. Pass the one "
            "that was run, or none."
        )
    options: dict[str, Any] = {"bounds": list(bounds), "m": m, "correction": correction, "allow_partial": allow_partial}
    reports, cells, taken = [], [], None
    for grid in grids:
        taken = taken_runs(grid, allow_partial=allow_partial)
        cells.append(_digest(taken))
        marks = grid.checkpoints or (None,)
        reports += [
            report_of(
                taken.runs(mark), num_classes=grid.num_classes, bounds=bounds, m=m, correction=correction,
                design=taken.design, checkpoint=mark, notes=taken.notes,
                made_by=taken.made_by, permuted=mark == marks[-1],
            )
            for mark in marks
        ]  # fmt: skip
    assert taken is not None
    main = grids[-1]
    scores = scores_of(taken)
    samples = _samples(main, scores.index, experiment)
    kept = Scores(index=np.arange(len(scores)), columns=scores.columns)
    with_labels = all(each is not None for each in taken.predicted.values())
    pairs = pairs_of(taken, MOST_PAIRS) if with_labels else []
    last = reports[-1]
    rows = {int(place): row for row, place in enumerate(scores.index)}
    found = {
        "title": {"sentence": _sentence(grids, last)},
        "finding": {"text": _finding(last, scores, taken)},
        "figures": [figure.to_dict() for figure in _figures(last)],
        "bounds": {
            "series": [
                {"name": _name(each), "n": each.n, "checkpoint": each.checkpoint, "report": each.as_dict()}
                for each in reports
            ],
            "warnings": last.as_dict()["warnings"],
            "statement": last.statement,
            "pairs": [
                {
                    "ids": [samples.ids[rows[item]] for item in pair.items],
                    "labels": list(pair.labels),
                    "information": pair.information,
                    "when_trained_on": pair.when_trained_on.tolist(),
                }
                for pair in pairs
            ],
        },
    }
    with store.create(
        out,
        command={**(command or {}), "bounds": {**options, "grids": [_facts(grid) for grid in grids]}},
        num_rows=len(scores),
        data={"digest": samples.digest(), "label_names": samples.label_names},
        provenance={"cells": cells},
    ) as run:
        if not run.finished:
            keep_samples(run, samples, None)
            for name, payload in (found | dict(notes or {})).items():
                run.note(name, payload)
            done = run.done()
            for start, stop in run.ranges():
                if (start, stop) not in done:
                    run.append(start, kept.rows(start, stop))
        run.finish()
    return store.open(out)


def _samples(grid: Grid, places: np.ndarray, experiment: room.Experiment | None) -> Samples:
    """The pool's items at ``places``, as far as they are known."""
    assert grid.labels is not None
    y = torch.as_tensor(grid.labels[places])
    x, texts, images, ids, names = torch.as_tensor(places)[:, None].float(), None, None, None, None
    if experiment is not None:
        ids, names = experiment.ids, experiment.label_names
        items = experiment.items
        if isinstance(items, list | tuple) and items and isinstance(items[0], str):
            texts = tuple(items[place] for place in places.tolist())
        elif isinstance(items, torch.Tensor | np.ndarray) and np.asarray(items).dtype.kind in "fiub":
            x = torch.as_tensor(items)[torch.as_tensor(places)]
        if experiment.images is not None:
            images = np.asarray(experiment.images)[places]
        elif x.ndim == 3:
            images = pictures_of(x[:, None])
    return Samples(
        x=x,
        y=y,
        ids=tuple(str(place) if ids is None else ids[place] for place in places.tolist()),
        label_names=None if names is None else tuple(names),
        images=images,
        texts=texts,
    )


def _name(report: room.Report) -> str:
    return f"n = {report.n}" + ("" if report.checkpoint is None else f", epoch {report.checkpoint}")


def _sentence(grids: Sequence[Grid], last: room.Report) -> str:
    sizes = ", ".join(str(grid.plan.n) for grid in grids)
    return (
        f"Generalization bounds from {last.runs} training runs on n = {sizes} samples of a pool of "
        f"{grids[-1].plan.pool_size:,}, {last.num_classes} classes"
    )


def _finding(report: room.Report, scores: Scores, taken: Taken) -> str:
    information, half = scores.values, REVEALING * np.log(2)
    revealing, chance = int((information >= half).sum()), revealing_by_chance(taken, half)
    first = next(iter(report.bounds.values()))
    text = f"{first.id} bounds the {first.of} by {first.value:.3g} (estimate)"
    if first.of == "expected gap":
        text += f"; the gap seen was {first.gap:.3g}"
    if first.vacuous:
        text += ": vacuous, for no gap of a loss in [0, 1] is larger than 1"
    return text + (
        f". Of {revealing:,} of {len(information):,} samples the predictions tell, by half a bit and more, whether "
        f"they were trained on (estimate; chance alone makes it {chance:.3g})."
    )


def _figures(report: room.Report) -> list[Estimate]:
    found = [
        Estimate(name=f"{each.id} bound on the {each.of}", value=each.value, kind="estimate", source=CMI)
        for each in list(report.bounds.values())[:2]
    ]
    gap = Estimate(name="gap seen, test minus train error", value=report.gap, kind="diagnostic")
    risk = Estimate(name="test error", value=float(report.test_error.mean()), kind="diagnostic")
    return [*found, gap, risk]


def _facts(grid: Grid) -> dict[str, Any]:
    return {
        "plan": grid.plan.fields(), "num_classes": grid.num_classes, "checkpoints": list(grid.checkpoints),
        "digest": grid.digest,
    }  # fmt: skip


def _digest(taken: Taken) -> str:
    """SHA-256 of all predictions."""
    sha256 = hashlib.sha256()
    for k1 in taken.k2:
        for runs in (taken.predicted[k1], taken.losses[k1]):
            if runs is not None:
                sha256.update(np.ascontiguousarray(runs).tobytes())
    return sha256.hexdigest()
