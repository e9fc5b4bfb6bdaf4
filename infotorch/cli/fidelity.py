"""``infotorch fidelity``: how large a sketch a run's scores need, from exact scores of some of its samples."""

import shlex
from typing import Annotated, Any

import typer

from infotorch import data as data_room
from infotorch import pipeline, store
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import load
from infotorch.cli.terminal import Terminal
from infotorch.pipeline.fidelity import DEFAULT_SUBSET, FEWEST

DIMS_HELP = (
    "Sizes of the sketch, with commas between. \\[default: the run's own, a quarter and a half of it, and twice that]"
)
SAMPLES_HELP = "Samples that are scored exactly, spread over the data set; at most 3,000 over the number of outputs."


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a finished run that infotorch score made.")],
    dims: Annotated[str | None, typer.Option(metavar="INTEGER,...", help=DIMS_HELP)] = None,
    samples: Annotated[int, typer.Option(parser=whole(FEWEST), metavar="INTEGER", help=SAMPLES_HELP)] = DEFAULT_SUBSET,
    seeds: Annotated[
        int, typer.Option(parser=whole(1), metavar="INTEGER", help="Sketches of each size that are compared.")
    ] = 3,
) -> None:
    """Compares, prints a table, and keeps the curve in the run for its report."""
    sizes = None if dims is None else sizes_of(dims)
    made_by = store.open(run).manifest["command"]
    if not made_by.get("task"):
        raise Usage(
            f"fidelity: RUN must be made by infotorch score; got {made_by.get('argv', 'a call from Python')}. Call "
            "infotorch.pipeline.fidelity_curve(measure, task, samples)."
        )
    loaded = load(made_by["task"], where="fidelity")
    data, tests = (
        given if spec is None else data_room.read(spec)
        for spec, given in ((made_by["data"], loaded.data), (made_by["test_data"], loaded.test_data))
    )
    with terminal.progress() as progress:
        curve = pipeline.keep_fidelity_curve(
            run, loaded.task, data, tests, dims=sizes, num_samples=samples, seeds=seeds, progress=progress
        )
    if terminal.json:
        terminal.result({"run": run, **curve.note()})
    else:
        show(terminal, curve, run)


def sizes_of(dims: str) -> list[int]:
    """Whole numbers with commas between."""
    try:
        return [whole(1)(part) for part in dims.split(",") if part.strip()]
    except typer.BadParameter:
        raise Usage(
            f"fidelity: --dims must be whole numbers, at least 1, with commas between; got {dims!r}. Write it as "
            "256,512,1024."
        ) from None


def show(terminal: Terminal, curve: pipeline.FidelityCurve, run: str) -> None:
    many = f"mean ± standard error of {len(curve.seeds)} sketches" if len(curve.seeds) > 1 else "one sketch"
    terminal.say(f"{curve.num_samples:,} samples, exact and by {curve.sketch}; {many} a size:")
    terminal.say()
    head = ["k", "unique information in", "Spearman", "Pearson", "highest tenth"]
    rows = [
        [
            f"{point.dim:,}",
            name.removeprefix("unique_information_"),
            *(spread(found[what]) for what in ("spearman", "pearson", "top_decile")),
        ]
        for point in curve.points
        for name, found in point.summary().items()
    ]
    terminal.table(head, rows, right=[0, 2, 3, 4])
    terminal.say()
    known = curve.effective_dimension
    of_all = "" if known is None else f"; {known:,.0f} on all samples of the run"
    terminal.facts([
        ("directions", f"about {curve.subset_dimension:,.0f} in use on these samples{of_all}"),
        ("sketch", f"{curve.dim:,} numbers in the run"),
        ("run", run),
        ("report", f"infotorch report {shlex.quote(run)} --open"),
    ])  # fmt: skip


def spread(found: dict[str, Any] | None) -> str:
    """Mean and standard error, or words where all scores are the same."""
    if found is None:
        return "undefined"
    return f"{found['mean']:.3f}" + ("" if found["stderr"] is None else f" ± {found['stderr']:.3f}")
