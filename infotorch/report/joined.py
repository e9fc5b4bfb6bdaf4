"""Several runs of the same samples as one, so that a page shows all that is known of each sample."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from infotorch import store
from infotorch.errors import ConfigError, DataError
from infotorch.report.view import Run
from infotorch.store.features import MANIFEST
from infotorch.store.manifest import decoded
from infotorch.table import Column, Scores

__all__ = ["Joined", "is_table", "joined", "opened", "table_note"]

WHERE = "report"
COMPLEXITY = "complexity.json"
"""In the folder of ``infotorch complexity --out``."""
HEAD = {"title", "finding", "figures"}
"""Notes at the head of a page."""
CHAPTERS = {"retraining", "fidelity", "fidelity_curve", "limit", "weights", "activations", "bounds"}
"""Notes of which a page shows one; that on supervision may be several."""
SETTINGS = {"f0", "tau", "output", "kernel", "ridge", "ridge_rel", "data"}
"""Of a table of complexity, among others."""
PLACED = {"retraining", "fidelity_curve"}
"""Notes that name samples by their places in the data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joined:
    """Several runs as one, with the interface of a stored one."""

    manifest: Mapping[str, Any]
    table: Scores
    rows: pa.Table
    noted: Mapping[str, Any]

    def scores(self) -> Scores:
        return self.table

    def samples(self) -> pa.Table:
        return self.rows

    def notes(self) -> dict[str, Any]:
        return dict(self.noted)


def opened(path: str | pathlib.Path) -> Run | dict[str, Any]:
    """The run at ``path``, or the notes that the table of ``infotorch complexity`` there makes.

    Raises:
        StoreError: There is neither.
    """
    return {"supervision": table_note(path)} if is_table(path) else store.open(path)


def is_table(path: str | pathlib.Path) -> bool:
    """Whether the folder is one of ``infotorch complexity --out``."""
    path = pathlib.Path(path)
    return (path / COMPLEXITY).is_file() and not (path / MANIFEST).exists()


def table_note(path: str | pathlib.Path) -> dict[str, Any]:
    """The note on supervision that the table in a folder makes."""
    path = pathlib.Path(path)
    table = decoded(WHERE, path / COMPLEXITY)
    rows = [row for name in sorted(table["checkpoints"]) for row in table["checkpoints"][name]["rows"]]
    return {"complexity": rows, "name": path.resolve().name, "settings": table["settings"]}


def joined(first: Run, others: Sequence[Run | Mapping[str, Any]]) -> Run:
    """``first`` with the scores and the chapters of ``others``, matched by the samples' ids.

    Samples that a run lacks are left out, which a warning says. Title, finding, suggested labels and data are those of
    ``first``.

    Args:
        first: The run that is asked for.
        others: Runs of the same samples and labels, or notes alone.

    Raises:
        ConfigError: A score stands in two runs.
        DataError: The runs have no sample in common, name one twice, or give one other labels.
    """
    if not others:
        return first
    runs = [first, *(other for other in others if not isinstance(other, Mapping))]
    tables, samples = [run.scores() for run in runs], [run.samples() for run in runs]
    places = [dict(zip(_ids(each), range(len(each)), strict=True)) for each in samples]
    ids = [name for name in places[0] if all(name in place for place in places)]
    if not ids:
        raise DataError(
            f"{WHERE}: runs must have samples in common; got none of the same id. Join runs of one data set."
        )
    rows = [np.array([place[name] for name in ids]) for place in places]
    warnings = [*_warnings(runs), *_left_out(len(ids), max(map(len, tables)))]
    _check_labels(ids, samples, rows)
    columns: dict[str, Column] = {}
    for table, own in zip(tables, rows, strict=True):
        for name, column in table.columns.items():
            if table is not tables[0] and name.startswith("suggested_label"):
                continue  # those of the first are what its own scores mean
            if name in columns and name.startswith("reliable"):
                both = columns[name].values & column.values[own]
                columns[name] = dataclasses.replace(column, values=both)
                continue
            if name in columns:
                raise ConfigError(
                    f"{WHERE}: a score must stand in one of the runs; got {name!r} in two. Leave one of them out."
                )
            columns[name] = dataclasses.replace(column, values=column.values[own])
    noted, kept = dict(first.notes()), iter(zip(tables[1:], rows[1:], strict=True))
    supervised = _tables(first, noted.pop("supervision", None))
    for other in others:
        if isinstance(other, Mapping):
            notes = dict(other)
        else:
            notes, (table, own) = dict(other.notes()), next(kept)
            if not np.array_equal(table.index[own], tables[0].index[rows[0]]):
                warnings += [f"The chapter {name!r} of a run that is joined here is left out: its samples have other "
                             "places." for name in sorted(PLACED & notes.keys())]  # fmt: skip
                notes = {name: note for name, note in notes.items() if name not in PLACED}
        supervised += _tables(first, notes.pop("supervision", None))
        notes = {name: note for name, note in notes.items() if name not in HEAD}
        warnings += [f"The chapter {name!r} stands in two of the runs that are joined here: that of the first is shown."
                     for name in sorted(CHAPTERS & notes.keys() & noted.keys())]  # fmt: skip
        noted = notes | noted
    _check_names(supervised)
    return Joined(
        manifest={**first.manifest, "rows": len(ids), "joined": [*map(_facts, runs[1:]), *_told(supervised)]},
        table=Scores(index=tables[0].index[rows[0]], columns=columns, main=tables[0].main),
        rows=samples[0].take(rows[0]),
        noted=noted | {"warnings": warnings} | ({"supervision": supervised} if supervised else {}),
    )


def _ids(samples: pa.Table) -> list[str]:
    ids = list(map(str, samples["id" if "id" in samples.column_names else "index"].to_pylist()))
    if len(set(ids)) < len(ids):
        twice = next(id for id, n in collections.Counter(ids).items() if n > 1)
        raise DataError(
            f"{WHERE}: runs that are joined must name each sample once; got {twice[:40]!r} more than once. Give "
            "samples ids of their own."
        )
    return ids


def _check_labels(ids: Sequence[str], samples: Sequence[pa.Table], rows: Sequence[np.ndarray]) -> None:
    labels = [each["label"].take(own).to_pylist() for each, own in zip(samples, rows, strict=True)
              if "label" in each.column_names]  # fmt: skip
    for other in labels[1:]:
        differ = [id for id, one, two in zip(ids, labels[0], other, strict=True) if one != two]
        if differ:
            raise DataError(
                f"{WHERE}: runs must give a sample one label; got others for {len(differ)} of {len(ids)}, the first "
                f"{differ[0][:40]!r}. Join runs that were made with the same labels."
            )


def _facts(run: Run) -> dict[str, Any]:
    return {"name": run.manifest.get("run", "another run"), "command": (run.manifest.get("command") or {}).get("argv")}


def _tables(first: Run, note: Any) -> list[Mapping[str, Any]]:
    """The notes on supervision complexity, which may not be of another kind of samples.

    Raises:
        DataError: One has other settings than :func:`table_note` gives it, or is of other samples.
    """
    found = [each for each in (note if isinstance(note, list) else [note]) if each]
    own = ((first.manifest.get("data") or {}).get("x") or {}).get("shape")
    for each in found:
        if "settings" not in each:
            continue
        settings, name = each["settings"], each.get("name")
        data = settings.get("data") if isinstance(settings, Mapping) else None
        if not isinstance(name, str) or not isinstance(data, Mapping) or not settings.keys() >= SETTINGS:
            raise DataError(
                f"{WHERE}: a table of complexity must have the settings that infotorch complexity keeps; got others in "
                f"{name!r}. Make it again."
            )
        sample = data.get("sample")
        if own is not None and sample is not None and own[1:] != sample:
            raise DataError(
                f"{WHERE}: a table of complexity must be of such samples as the run's, {own[1:]}; got {sample} in "
                f"{name!r}. Join tables of one task."
            )
    return found


def _told(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": each["name"], "settings": each["settings"]} for each in tables if "settings" in each]


def _check_names(tables: Sequence[Mapping[str, Any]]) -> None:
    names = collections.Counter(each["name"] for each in tables if "name" in each)
    if twice := next((name for name, n in names.items() if n > 1), None):
        raise ConfigError(
            f"{WHERE}: tables of complexity must have names of their own; got two of {twice!r}. Give each once, or "
            "rename a folder."
        )


def _warnings(runs: Sequence[Run]) -> list[str]:
    noted = [run.notes().get("warnings") or [] for run in runs]
    return [str(text) for each in noted for text in (each if isinstance(each, list) else [each])]


def _left_out(kept: int, most: int) -> list[str]:
    if kept == most:
        return []
    return [f"{most - kept:,} of {most:,} samples are not in all of the runs that are joined here, and are left out."]
