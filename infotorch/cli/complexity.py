"""``infotorch complexity``: how hard the labels are for a network along its training."""

import shlex
from typing import Annotated, Any

import typer

from infotorch import data as data_room
from infotorch import pipeline
from infotorch.cli.chart import drawn
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import load
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.data import samples_of
from infotorch.errors import ConfigError, unknown
from infotorch.pipeline.complexity import TABLE
from infotorch.report.joined import table_note
from infotorch.report.supervision import MEANS, complexity, described

CHART = "complexity.html"
SHOWN = ("quad", "complexity", "adjusted", "unit_adjusted", "alignment")
TASK_HELP = "package.module:callable or file.py:callable that returns (Task, data) or (Task, data, test_data)."
CHECKPOINTS_HELP = "Folder of state dicts step-00000000.pt, ..."
F0_HELP = "What targets are compared with: student (its probabilities) or zero."
RIDGE_HELP = "Added to the kernel's diagonal; above 1e-5 of its largest eigenvalue in float32."
REL_HELP = "The same in units of the mean of the diagonal, at each checkpoint."
SAMPLES_HELP = "Samples, the first of the test data, or of the data where there are none."
OUT_HELP = "Folder that keeps the table; the same command goes on in it after any kill."


def command(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    checkpoints: Annotated[str, typer.Option(metavar="FOLDER", help=CHECKPOINTS_HELP)],
    f0: Annotated[str, typer.Option(metavar="student|zero", help=F0_HELP)] = "student",
    ridge: Annotated[float | None, typer.Option(metavar="NUMBER", help=RIDGE_HELP)] = None,
    ridge_rel: Annotated[float | None, typer.Option(metavar="NUMBER", help=REL_HELP)] = None,
    tau: Annotated[float, typer.Option(metavar="NUMBER", help="Temperature of the student's probabilities.")] = 1.0,
    output: Annotated[str, typer.Option(metavar="logits|probs", help="What the kernel is of.")] = "logits",
    kernel: Annotated[str, typer.Option(metavar="full|avg", help="Of every output, or their mean.")] = "full",
    samples: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help=SAMPLES_HELP)] = 256,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help=OUT_HELP)] = None,
) -> None:
    """Prints the complexity of the one-hot labels at each checkpoint."""
    choices = {"--f0": (f0, ("student", "zero")), "--output": (output, ("logits", "probs")),
               "--kernel": (kernel, ("full", "avg"))}  # fmt: skip
    for name, (value, valid) in choices.items():
        if value not in valid:
            raise Usage(str(unknown("complexity", name, value, valid)))
    if (ridge is None) == (ridge_rel is None):
        raise Usage(
            "complexity: exactly one of --ridge and --ridge-rel must be given; got "
            f"{'none' if ridge is None else 'both'}. There is no default, as it changes the ranking."
        )
    loaded = load(task, where="complexity")
    given = loaded.data if loaded.test_data is None else loaded.test_data
    if given is None:
        raise Usage(f"complexity: TASK must return (task, data); got a task alone from {task}. Return its data too.")
    chosen = samples_of(data_room.read(given) if isinstance(given, str) else given)
    x = chosen.all_inputs("complexity")[:samples]
    options: dict[str, Any] = {"f0": f0, "ridge": ridge, "ridge_rel": ridge_rel, "tau": tau, "output": output,
                               "kernel": kernel}  # fmt: skip
    try:
        with terminal.progress() as progress:
            rows = pipeline.complexity_along(
                loaded.task, (x, chosen.y[:samples]), checkpoints, **options, out=out, progress=progress
            )
    except ConfigError as error:
        raise Usage(str(error)) from error
    if terminal.json:
        terminal.result({"out": out, "num_samples": len(x), "rows": rows})
    else:
        show(terminal, rows, len(x), out)


def show(terminal: Terminal, rows: list[dict[str, Any]], num_samples: int, out: str | None) -> None:
    terminal.say(f"{num_samples:,} samples at {len({row['step'] for row in rows}):,} checkpoints (diagnostic):")
    terminal.say()
    head = ["step", "target", "quad", "complexity", "adjusted", "unit adjusted", "alignment"]
    body = [
        [str(row["step"]), row["target"], *("" if row[name] is None else number(row[name]) for name in SHOWN)]
        for row in rows
    ]
    terminal.table(head, body, right=(0, 2, 3, 4, 5, 6))
    terminal.say()
    facts = [("adjusted", "no unit of the kernel in it; unit adjusted: none of the targets either")]
    facts.append(("ridge", f"{number(rows[0]['ridge'])} to {number(rows[-1]['ridge'])}, first to last checkpoint"))
    if out is None:
        facts.append(("kept", "nothing. Add --out FOLDER to keep the table."))
    else:
        facts.append(("table", shlex.quote(f"{out.rstrip('/')}/{TABLE}")))
        settings = table_note(out)["settings"]
        page = drawn(
            "Supervision complexity along a training", lambda: [complexity(rows)], f"{out.rstrip('/')}/{CHART}",
            says=f"{MEANS} Of {described(settings)}.",
        )  # fmt: skip
        facts.append(("chart", page))
    terminal.facts(facts)
