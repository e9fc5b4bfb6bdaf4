"""``infotorch label-errors``: the labels of a run that look wrong, on the terminal and as a file."""

import pathlib
import shlex
from typing import Annotated

import typer

from infotorch import curation, store
from infotorch.cli.failures import Usage
from infotorch.cli.flags import TABLE_HELP, whole
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.errors import ConfigError

SHOWN = 20
BY_HELP = "Score to rank by; default own_residual, or the asked score where there is none."
TOP_HELP = "Call the first N wrong."
THRESHOLD_HELP = "Call labels wrong that are contradicted and have a score beyond this; default from the data."


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")],
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help=BY_HELP)] = None,
    top: Annotated[int | None, typer.Option(parser=whole(1), metavar="N", help=TOP_HELP)] = None,
    threshold: Annotated[float | None, typer.Option(metavar="NUMBER", help=THRESHOLD_HELP)] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help=TABLE_HELP)] = None,
) -> None:
    """Prints the labels that look wrong, the most suspicious first, and by what rule."""
    opened = store.open(pathlib.Path(run))
    try:
        if out is not None:
            store.check_ending("label-errors", out)
        found = curation.label_errors(opened, by=by, top=top, threshold=threshold)
    except ConfigError as error:
        raise Usage(str(error)) from error
    if out is not None:
        found.write(out)
    issues = found.table().slice(0, found.num_issues)
    if terminal.json:
        about = {"run": run, "by": found.by, "num_labels": len(found), "num_issues": found.num_issues}
        about |= {"threshold": found.threshold, "rule": found.rule, "out": out}
        terminal.result({**about, "issues": issues.to_pylist()})
        return
    share = f"{100 * found.num_issues / len(found):.1f} %"
    terminal.say(f"{found.num_issues:,} of {len(found):,} labels ({share}) look wrong.")
    shown = issues.slice(0, SHOWN if top is None else top).to_pylist()
    if shown:
        terminal.say()
        show(terminal, found, shown)
        terminal.say()
    if len(shown) < found.num_issues:
        terminal.say(f"These are the first {len(shown)}. With --out FILE.csv all are written.")
    terminal.facts([("rule", found.rule), *([] if out is None else [("written", shlex.quote(out))])])


def show(terminal: Terminal, found: curation.LabelErrors, rows: list[dict[str, object]]) -> None:
    head = {"rank": "rank", "id": "id", "given_label": "given", "suggested_label": "suggested", found.by: ""}
    head[found.by] = found.by.replace("_", " ")
    columns = [name for name in head if name in rows[0]]

    def cell(row: dict[str, object], name: str) -> str:
        value = row[name]
        if isinstance(value, int) and name.endswith("_label"):
            return found.name_of(value)
        return number(value) if isinstance(value, float) else str(value)

    terminal.table(
        [head[name] for name in columns],
        [[cell(row, name) for name in columns] for row in rows],
        right=(0, len(columns) - 1),
    )
