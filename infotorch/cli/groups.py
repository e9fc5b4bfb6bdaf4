"""``infotorch groups``: a score by class, source or any other column of the samples."""

import pathlib
import shlex
from typing import Annotated

import typer

from infotorch import curation, store
from infotorch.cli.failures import Usage
from infotorch.cli.flags import TABLE_HELP, whole
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import count, number, plain
from infotorch.errors import ConfigError

PER_HELP = "What to group by: label, or a metadata column; many different numbers are cut into fifths."
SHARES = {"share": "share of sum", "contradicted": "labels differ"}


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")],
    per: Annotated[str, typer.Option(metavar="COLUMN", help=PER_HELP)] = "label",
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="The score; default the asked one.")] = None,
    top: Annotated[int, typer.Option(parser=whole(1), metavar="N", help="How many groups to print.")] = 20,
    out: Annotated[str | None, typer.Option(metavar="FILE", help=TABLE_HELP)] = None,
) -> None:
    """Prints the groups, the highest mean first; parts of a range in its order."""
    opened = store.open(pathlib.Path(run))
    try:
        if out is not None:
            store.check_ending("groups", out)
        found = curation.informativeness(opened, per=per, by=by)
    except ConfigError as error:
        raise Usage(str(error)) from error
    if out is not None:
        found.write(out)
    rows = found.table().to_pylist()
    if terminal.json:
        about = {"run": run, "per": per, "by": found.by, "unit": found.unit, "fifths": found.binned, "out": out}
        terminal.result({**about, "groups": rows})
        return
    shown, score, what = rows[:top], found.by.replace("_", " "), plain(per, 12)
    number_of = f"{len(shown)} of {len(found):,}"
    if found.binned:
        terminal.say(f"{number_of} parts of {what}, mean {score} in each:")
    else:
        terminal.say(f"{number_of} groups by {what}, highest mean {score} first:")
    terminal.say()
    columns = {"count": "samples", "mean": "mean" if found.unit == "1" else f"mean [{found.unit}]"}
    columns |= {"stderr": "stderr", "median": "median"} | {name: SHARES[name] for name in SHARES if name in rows[0]}
    terminal.table(
        [per, *columns.values()],
        [[row[per], *(cell(name, row[name]) for name in columns)] for row in shown],
        right=range(1, 1 + len(columns)),
    )
    if out is not None:
        terminal.say()
        terminal.facts([("written", shlex.quote(out))])


def cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if name in SHARES else count(int(value)) if name == "count" else number(value)
