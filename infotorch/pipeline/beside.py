"""Scores of another run, joined by the samples' ids."""

import dataclasses
from pathlib import Path

import numpy as np

from infotorch import errors, store
from infotorch.data import Samples
from infotorch.table import Scores

__all__ = ["scores_beside"]


def scores_beside(where: str, path: str | Path, samples: Samples) -> Scores:
    """The other run's scores of these samples, in their order; what it suggests for their labels is left out.

    Raises:
        ConfigError: It is a run of LIMIT itself.
        DataError: It lacks a sample.
        StoreError: There is no such run, or it is damaged.
    """
    other = store.open(path)
    table = other.scores()
    known = other.samples(["index", "id", "label"]).to_pydict()
    names = known.get("id") or list(map(str, table.index.tolist()))
    place = {name: row for row, name in enumerate(names)}
    missing = [name for name in samples.ids if name not in place]
    if missing:
        raise errors.DataError(
            f"{where}: the run beside must have every sample that is trained on; got {path} without {len(missing)} of "
            f"{len(samples)}, the first {missing[0][:40]!r}. Score the same data there, or leave it out."
        )
    rows = np.array([place[name] for name in samples.ids])
    if "label" in known:
        differ = [
            name for name, row, y in zip(samples.ids, rows, samples.y.tolist(), strict=True) if known["label"][row] != y
        ]
        if differ:
            raise errors.DataError(
                f"{where}: the run beside must be of the same labels; got {path}, where {len(differ)} of "
                f"{len(samples)} differ, the first of {differ[0][:40]!r}. Score the data with the labels "
                "that are trained on."
            )
    clash = next((name for name in table.columns if name.startswith("limit_")), None)
    if clash is not None:
        raise errors.ConfigError(
            f"{where}: the run beside must have other columns than this one; got {clash!r} in {path}. "
            "Put a run of infotorch score beside."
        )
    columns = {
        name: dataclasses.replace(column, values=column.values[rows])
        for name, column in table.columns.items()
        if not name.startswith("suggested_label")
    }
    return Scores(index=np.arange(len(samples)), columns=columns, main=table.main)
