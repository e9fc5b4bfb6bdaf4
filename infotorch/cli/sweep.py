"""``infotorch sweep beta``: variational trainings on a grid of betas, shares of random labels and seeds."""

import concurrent.futures as futures
import pathlib
import textwrap
from typing import Annotated, Literal

import typer

from infotorch import data as data_room
from infotorch import pipeline
from infotorch.cli.app import Part
from infotorch.cli.chart import drawn
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import called, function_of, load
from infotorch.cli.pages import TRANSITION
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.errors import ConfigError
from infotorch.report.sweep import transition

WHERE = "sweep beta"
WIDTH = 79
TASK_HELP = (
    "package.module:callable or path/to/file.py:callable. The callable returns a Task, (task, loader) or "
    "(task, loader, test_loader)."
)
DATA_HELP = "Samples, as of infotorch score; in place of the task's own loader."
TEST_HELP = "Samples to measure on too, in place of the task's own test loader."
BETAS_HELP = "Of the KL next to the summed loss, with commas between; 1 is the evidence bound."
CORRUPTIONS_HELP = "Shares of labels drawn anew from all classes, with commas between."
EXECUTOR_HELP = "Callable, named as TASK, that returns a concurrent.futures.Executor, in place of own processes."
PRIOR_HELP = 'Variance of the prior, or "learned": one a layer, of the least KL.'
FRESH_HELP = "Begin each cell with new initial weights; else with the given ones."
SAYS = (
    "CE/N, accuracies: of weights drawn from the posterior; CE/N and KL/N in nats a sample; C/N = CE/N + beta KL/N, "
    "as it was reached, not the least there is."
)


def beta(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    betas: Annotated[str, typer.Option(metavar="NUMBER,...", help=BETAS_HELP)],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder of the cells, made or gone on with.")],
    corruptions: Annotated[str, typer.Option(metavar="NUMBER,...", help=CORRUPTIONS_HELP)] = "0",
    seeds: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="How many.")] = 1,
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    test_data: Annotated[str | None, typer.Option(metavar="SPEC", help=TEST_HELP)] = None,
    prior_var: Annotated[str, typer.Option(metavar="NUMBER|learned", help=PRIOR_HELP)] = "learned",
    granularity: Annotated[
        Literal["weight", "filter", "kron"],
        typer.Option(metavar="weight|filter|kron", help="What shares a variance."),
    ] = "weight",
    noise: Annotated[
        Literal["weight", "local", "flipout"],
        typer.Option(metavar="weight|local|flipout", help="How noise is drawn in training."),
    ] = "weight",
    fresh: Annotated[bool, typer.Option(help=FRESH_HELP)] = True,
    steps: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Of Adam, in each cell.")] = 1200,
    batch_size: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="INTEGER", help="Samples of a step; default all.")
    ] = None,
    lr: Annotated[float, typer.Option(metavar="NUMBER", help="Of Adam.")] = 1e-2,
    workers: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="INTEGER", help="Processes; all cores by default.")
    ] = None,
    executor: Annotated[str | None, typer.Option(metavar="CALLABLE", help=EXECUTOR_HELP)] = None,
    threads: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Threads of each process.")] = 1,
    retries: Annotated[
        int, typer.Option(parser=whole(0), metavar="INTEGER", help="How often a cell that fails is tried again.")
    ] = 1,
) -> None:
    """Trains the cells that are missing; the same command goes on where it was stopped."""
    levels = numbers("--corruptions", corruptions)
    values = numbers("--betas", betas)
    variance: float | Literal["learned"] = "learned"
    if prior_var != "learned":
        given = numbers("--prior-var", prior_var)
        if len(given) != 1:
            raise Usage(
                f"{WHERE}: --prior-var must be one number or learned; got {prior_var!r}. A sweep has one prior: run "
                "another with its own --out."
            )
        variance = given[0]
    loaded = load(task, where=WHERE)
    source = data_room.read(data) if data is not None else loaded.data
    if source is None:
        raise Usage(
            f"{WHERE}: there must be samples to train on; got no --data, and {task.rpartition(':')[2]}() returns none. "
            "Give --data SPEC, or return (task, loader)."
        )
    with terminal.progress() as progress:
        found = pipeline.sweep_beta(
            loaded.task, source, betas=values, corruptions=levels, seeds=seeds, out=out,
            test_data=data_room.read(test_data) if test_data is not None else loaded.test_data, prior_var=variance,
            granularity=granularity, noise=noise, fresh=fresh, steps=steps, batch_size=batch_size, lr=lr,
            workers=workers, executor=None if executor is None else executor_of(executor), threads=threads,
            retries=retries, progress=progress,
        )  # fmt: skip
    show(terminal, found, out)


def executor_of(spec: str) -> futures.Executor:
    """What the user's function returns."""
    what, function, file = function_of(spec, WHERE, "Write: def {name}(): return client.get_executor().")
    made = called(WHERE, f"{what} must return an executor", function, file)
    if not isinstance(made, futures.Executor):
        raise ConfigError(
            f"{WHERE}: {what} must return a concurrent.futures.Executor; got {type(made).__name__}. "
            "Dask's is client.get_executor()."
        )
    return made


def numbers(flag: str, text: str) -> list[float]:
    """Numbers with commas between."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not found:
        raise Usage(f"{WHERE}: {flag} must be numbers with commas between; got {text!r}. Write {flag} 0.1,1.")
    return found


def show(terminal: Terminal, sweep: pipeline.Sweep, out: str) -> None:
    if terminal.json:
        terminal.result({"out": out, **sweep.as_dict()})
        return
    means = sweep.means()
    seeds = max(row["num_seeds"] for row in means)
    terminal.say(f"{len(sweep.rows):,} cells, N = {sweep.num_samples:,}; means over {seeds} seed{'s' * (seeds > 1)}:")
    terminal.say()
    names = {"beta": "beta", "noisy_ce": "CE/N", "train_acc": "train", "test_acc": "test", "kl": "KL/N", "c": "C/N"}
    rows = [
        [f"{row['corruption']:g}", *("" if row[key] is None else shown(key, row[key]) for key in names)]
        for row in means
    ]
    terminal.table(["random", *names.values()], rows, right=range(1 + len(names)))
    terminal.say()
    for line in textwrap.wrap(SAYS, WIDTH):
        terminal.say(line)
    facts = []
    for level in sorted({row.corruption for row in sweep.rows}):
        at = sweep.collapse(level)
        if sweep.num_classes:
            text = "not on this grid" if at is None else f"from beta = {at:g} on"
            low = "3/4" if sweep.num_classes == 2 else "2/C"
            facts.append((f"{100 * level:g} % random", f"training accuracy below {low} {text}"))
    rows_of_all = [row.as_dict() for row in sweep.rows]
    path = pathlib.Path(out) / TRANSITION
    chart = drawn("Information in the weights against the price of a nat", lambda: transition(rows_of_all), path)
    terminal.facts([*facts, ("cells", out), ("chart", chart)])


def shown(key: str, value: float) -> str:
    """Accuracies as a share with three digits, a beta as it was given, nats with three digits."""
    if key == "beta":
        return f"{value:g}"
    return f"{value:.3f}" if key.endswith("acc") or abs(value) < 1 else number(value)


PARTS = {"beta": Part(beta, "Train a network at many betas, on true and on random labels.")}
