"""``infotorch show``: the samples of a run to look at first by a score, on the terminal."""

import pathlib
from typing import Annotated

import typer

from infotorch import store
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.rows import Rows, columns_of
from infotorch.cli.terminal import Terminal
from infotorch.errors import unknown
from infotorch.table import low_first, time_of

COLUMNS = 3  # scores that fit in 80 columns beside id and labels


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")],
    top: Annotated[int, typer.Option(parser=whole(1), metavar="N", help="How many samples.")] = 10,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Score to sort by; default the asked one.")] = None,
) -> None:
    """Prints the samples with the highest scores, or the lowest where these are the suspicious ones, as of a margin."""
    opened = store.open(pathlib.Path(run))
    scores, samples = opened.scores(), opened.samples(["id", "label"]).to_pydict()
    by = by if by is not None else scores.main or ""
    if by not in scores.columns:
        raise Usage(str(unknown("show", "--by", by, scores.columns)))
    first = scores.suspicious(by)[:top]
    N = len(scores)
    labels = samples.get("label", [None] * N)
    rows = Rows(
        scores=scores,
        ids=samples.get("id") or scores.index.tolist(),
        labels=labels,
        names=dict(enumerate(opened.manifest["data"].get("label_names") or ())),
        time=time_of(by),
    )
    if terminal.json:
        found = [rows.record(int(i)) for i in first]
        terminal.result({"run": run, "by": by, "columns": columns_of(scores), "samples": found})
        return
    numbers = [n for n, c in scores.columns.items() if c.values.ndim == 1 and c.values.dtype.kind == "f"]
    others = [n for n in numbers if n != by and time_of(n) == time_of(by)]  # numbers of two times make no row
    end = "lowest" if low_first(by) else "highest"
    terminal.say(f"{len(first)} of {N:,} samples, {end} {by.replace('_', ' ')} first:")
    terminal.say()
    rows.print(terminal, first, [by, *others][:COLUMNS])
