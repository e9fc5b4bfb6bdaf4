"""The pages of folders that are no run: a sweep's transition and the distances of embeddings, drawn again."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from infotorch import pipeline
from infotorch.errors import StoreError
from infotorch.report.distances import distances
from infotorch.report.figure import Figure
from infotorch.report.standalone import write_figures
from infotorch.report.sweep import transition

__all__ = ["DISTANCES", "TRANSITION", "distances_page", "page_of_folder", "short", "transition_page"]

DISTANCES, TRANSITION = "distances", "transition.html"


def page_of_folder(folder: pathlib.Path) -> Callable[[pathlib.Path | None], pathlib.Path] | None:
    """What writes the page of a folder of ``infotorch sweep beta`` or ``embed``, there or elsewhere; None of others."""
    if (folder / "sweep.json").is_file():
        return lambda file: transition_page(_rows(folder), file or folder / TRANSITION)
    if (folder / f"{DISTANCES}.json").is_file():
        return lambda file: distances_page(_entries(folder), file or folder / f"{DISTANCES}.html")
    return None


def transition_page(rows: list[dict[str, Any]], file: pathlib.Path) -> pathlib.Path:
    return write_figures("Information in the weights against the price of a nat", transition(rows), file)


def distances_page(entries: dict[str, Any], file: pathlib.Path) -> pathlib.Path:
    """Of what ``distances.json`` holds."""
    return write_figures(f"Distances of {len(entries['tasks'])} tasks ({entries['kind']})", [_heat(entries)], file)


def _rows(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [row.as_dict() for row in pipeline.read_sweep(folder).rows]


def _heat(entries: dict[str, Any]) -> Figure:
    caption = (
        "Rows and columns are in the order of the tree, which joins tasks at their mean distance. It tells which tasks "
        "need the same filters of this probe, not how well one learns from another."
    )
    return distances(short(entries["tasks"]), np.array(entries["distances"]), title="Distances", caption=caption)


def short(tasks: list[str]) -> list[str]:
    """The names of the functions, where they tell the tasks apart."""
    names = [spec.rpartition(":")[2] for spec in tasks]
    return names if len(set(names)) == len(names) else list(tasks)


def _entries(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / f"{DISTANCES}.json"
    try:
        found = json.loads(path.read_text())
        n = len(found["tasks"])
        if np.array(found["distances"], dtype=float).shape != (n, n) or not isinstance(found["kind"], str):
            raise ValueError("other sizes")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"report: {path} must be what infotorch embed wrote; got {type(error).__name__} as it is read. Run embed "
            "again: the embeddings that are there are not computed again."
        ) from error
    return dict(found)
