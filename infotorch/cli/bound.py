"""``infotorch bound``: plan training runs, make them, and estimate bounds on the generalization gap from them."""

import re
import shlex
from typing import Annotated, Any, Literal

import typer

from infotorch import bounds, pipeline
from infotorch.bounds.estimates.estimation import ESTIMATED
from infotorch.bounds.grids.grid import Grid, read_grid, write_plan
from infotorch.cli.app import Part
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import load_experiment
from infotorch.cli.terminal import Terminal
from infotorch.errors import unknown

TASK_HELP = (
    "package.module:callable or path/to/file.py:callable. The callable returns an infotorch.bounds.Experiment: labels "
    "and how to train."
)
DIR_HELP = "Folder of the runs."
BOUNDS_HELP = f"Which bounds, with commas between: {', '.join(ESTIMATED)}."
BLOCK_HELP = "Runs in whose masks every item is trained on half of the times; an even number that divides --k2."
SHARD_HELP = "Make each N-th run, beginning with the I-th: for array jobs on one folder."
TIMEOUT_HELP = "Seconds after which a run is given up."
PARTIAL_HELP = "Take the runs that are there, though blocks are incomplete."
OUT_HELP = "Folder to keep the estimates in, for infotorch report."


def plan(
    terminal: Terminal,
    pool_size: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Items to draw from.")],
    n: Annotated[int, typer.Option("--n", parser=whole(1), metavar="INTEGER", help="Training samples of a run.")],
    k1: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Supersamples.")],
    k2: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Runs of each supersample.")],
    out: Annotated[str, typer.Option(metavar="DIR", help=DIR_HELP)],
    seed: Annotated[int, typer.Option(parser=whole(0), metavar="INTEGER", help="Of every draw.")] = 0,
    block: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help=BLOCK_HELP)] = 10,
    masks: Annotated[
        Literal["balanced", "iid"], typer.Option(metavar="balanced|iid", help="Kind of masks.")
    ] = "balanced",
) -> None:
    """Writes the plan of K1 x K2 runs; with another --k1 or --k2 than before, the folder keeps its runs."""
    made = write_plan(out, bounds.plan(pool_size, n, k1, k2, seed=seed, masks=masks, block=block))
    if terminal.json:
        terminal.result(made.plan.fields() | {"out": out})
        return
    terminal.say(f"{k1 * k2:,} runs on n = {n:,} of {pool_size:,} items are planned.")
    if there := int(made.done().sum()):
        terminal.say(f"{there:,} of them are there.")
    terminal.facts([("next", f"infotorch bound run TASK {shlex.quote(out)}")])


def run(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    out: Annotated[str, typer.Argument(metavar="DIR", help=DIR_HELP)],
    workers: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="INTEGER", help="Processes; all cores by default.")
    ] = None,
    threads: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Threads of each process.")] = 1,
    ensemble_size: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="INTEGER", help="Runs trained at once by an ensemble.")
    ] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help=SHARD_HELP)] = "1/1",
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help=TIMEOUT_HELP)] = None,
    retries: Annotated[
        int, typer.Option(parser=whole(0), metavar="INTEGER", help="How often a run that fails is tried again.")
    ] = 1,
    probe: Annotated[bool, typer.Option(help="Try first whether the learner follows seed and indices.")] = True,
) -> None:
    """Makes the planned runs that are missing; the same command goes on where it was stopped."""
    part = re.fullmatch(r"(\d+)/(\d+)", shard)
    if part is None:
        raise Usage(f"bound run: --shard must be I/N, such as 2/8; got {shard!r}. Run: infotorch bound run --help.")
    grid = read_grid(out)
    experiment = load_experiment(task, where="bound run")
    items = experiment.items
    with terminal.progress() as progress:
        bounds.run(
            grid.plan, experiment.train_fn, out, labels=experiment.labels, num_classes=experiment.num_classes,
            ensemble=experiment.ensemble, ensemble_size=ensemble_size, checkpoints=experiment.checkpoints,
            items=items if hasattr(items, "shape") else None, workers=workers, threads=threads,
            shard=(int(part[1]), int(part[2])), timeout=timeout, retries=retries, probe=probe, progress=progress,
        )  # fmt: skip
    status(terminal, out)


def status(terminal: Terminal, out: Annotated[str, typer.Argument(metavar="DIR", help=DIR_HELP)]) -> None:
    """How many runs are there, and what comes next."""
    found = bounds.status(out)
    if terminal.json:
        missing = [list(cell) for cell in found.missing]
        terminal.result(
            {"done": found.num_done, "planned": found.done.size, "missing": missing, "seconds": found.seconds}
        )
        return
    terminal.say(str(found))
    folder = shlex.quote(out)
    terminal.facts([("next", f"infotorch bound {'run TASK' if found.missing else 'estimate'} {folder}")])


def estimate(
    terminal: Terminal,
    dirs: Annotated[list[str], typer.Argument(metavar="DIR...", help="Folders of runs; several of different n.")],
    ids: Annotated[str, typer.Option("--bounds", metavar="NAME,...", help=BOUNDS_HELP)] = "fcmi",
    m: Annotated[int, typer.Option("--m", parser=whole(1), metavar="INTEGER", help="Pairs of a subset.")] = 1,
    correction: Annotated[
        Literal["none", "miller_madow", "jackknife"],
        typer.Option(metavar="none|miller_madow|jackknife", help="Of the information's bias."),
    ] = "none",
    checkpoint: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="EPOCH", help="The epoch to print; default the last.")
    ] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help=PARTIAL_HELP)] = False,
    out: Annotated[str | None, typer.Option(metavar="RUN", help=OUT_HELP)] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="As of bound run: shows the items in --out.")] = None,
) -> None:
    """Estimates bounds from runs, and says what the numbers are worth."""
    names = tuple(name.strip() for name in ids.split(",") if name.strip())
    for name in names:
        if name not in ESTIMATED:
            raise Usage(str(unknown("bound estimate", "--bounds", name, ESTIMATED)))
    if task is not None and out is None:
        raise Usage("bound estimate: --task must come with --out; got --task alone. Give --out RUN, or leave it out.")
    grids: list[Grid] = [read_grid(each) for each in dirs]
    options: dict[str, Any] = {"bounds": names, "m": m, "correction": correction, "allow_partial": allow_partial}
    reports = [bounds.estimate(grid, checkpoint=checkpoint, **options) for grid in grids]
    if out is not None:
        experiment = None if task is None else load_experiment(task, where="bound estimate")
        words = ["infotorch", "bound", "estimate", *dirs, "--bounds", ",".join(names)]
        words += [*(["--m", str(m)] if m != 1 else []), *(["--correction", correction] if correction != "none" else [])]
        words += [*(["--allow-partial"] if allow_partial else []), *(["--task", task] if task is not None else [])]
        argv = shlex.join([*words, "--out", "RUN"])
        pipeline.keep_bounds(grids, out, experiment=experiment, command={"command": "bound", "argv": argv}, **options)
    if terminal.json:
        found = [{"dir": each, **report.as_dict()} for each, report in zip(dirs, reports, strict=True)]
        terminal.result(found[0] if len(found) == 1 else found)
        return
    for place, report in enumerate(reports):
        if place:
            terminal.say()
        terminal.say(str(report))
    if out is not None:
        terminal.facts([("run", out), ("report", f"infotorch report {shlex.quote(out)} --open")])


PARTS = {
    "plan": Part(plan, "Plan K1 supersamples with K2 training runs each."),
    "run": Part(run, "Make the planned runs that are missing."),
    "status": Part(status, "Say how many runs are there."),
    "estimate": Part(estimate, "Estimate bounds from the runs."),
}
