"""``infotorch score --checkpoints``: which samples' scores move along a training."""

import shlex
from collections.abc import Sequence

import numpy as np

from infotorch.cli.rows import Rows, columns_of, stem_of
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.pipeline import Trajectory
from infotorch.pipeline.checkpoints import SUMMARY

__all__ = ["show_trajectory"]


def show_trajectory(terminal: Terminal, found: Trajectory, rows: Rows, out: str | None, top: int) -> None:
    """Prints the ``top`` samples whose score changed most between the first and the last checkpoint.

    Args:
        terminal: Where to.
        found: The scores.
        rows: The samples, with any checkpoint's scores.
        out: Folder of the runs, if they are kept.
        top: How many samples.
    """
    name = rows.named(stem_of(found.main)) or found.main
    if terminal.json:
        columns = columns_of(found.tables[0])
        summary = found.summary()["columns"]
        terminal.result({
            "run": out, "main": found.main, "checkpoints": list(found.names), "index": found.index.tolist(),
            "id": list(rows.ids), "label": list(rows.labels),
            "columns": {n: {**columns[n], "values": found[n].tolist(), **summary[n]} for n in found.columns},
        })  # fmt: skip
        return
    values, change = found[name], found.change(name)
    first, last = found.names[0], found.names[-1]
    most = np.argsort(-np.abs(change), kind="stable")[:top]
    said = name.replace("_", " ")
    terminal.say(
        f"{values.shape[1]:,} samples scored at {len(found)} checkpoints; the {len(most)} whose {said} changed"
    )
    terminal.say(f"most from {first} to {last}:")
    terminal.say()
    numbers = np.stack([values[0], values[-1], change], 1)
    body = [[str(rows.ids[n]), rows.label(rows.labels[n]), *map(number, numbers[n].tolist())] for n in most]
    terminal.table(["id", "given", "first", "last", "change"], body, right=range(2, 5))
    terminal.say()
    terminal.facts(facts(found, name, out))


def facts(found: Trajectory, name: str, out: str | None) -> Sequence[tuple[str, str]]:
    """How the ranking moves from each checkpoint to the next, and where the runs are."""
    ranks = found.rank_correlation(name)
    told = [
        ("ranks", f"Spearman {'undefined' if rank is None else f'{rank:.3f}'} from {before} to {after}")
        for rank, before, after in zip(ranks, found.names, found.names[1:], strict=False)
    ]
    if out is None:
        return [*told, ("kept", "nothing. Add --out RUN to keep the scores.")]
    run = f"{out.rstrip('/')}/{SUMMARY}"
    return [*told, ("runs", f"{out}, one a checkpoint"), ("means", run),
            ("report", f"infotorch report {shlex.quote(run)} --open")]  # fmt: skip
