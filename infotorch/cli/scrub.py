"""``infotorch scrub``: what a network knows of some samples, out of its weights."""

import dataclasses
import difflib
import pathlib
import textwrap
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer

from infotorch import data as data_room
from infotorch import edit
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import load
from infotorch.cli.score import DATA_HELP, TASK_HELP, count_option, samples_to_score
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.data import Samples
from infotorch.errors import ConfigError, StoreError
from infotorch.pipeline.checkpoints import read_state
from infotorch.train import checkpoint

WHERE = "scrub"
WIDTH = 80
FORGET_HELP = (
    "Samples to forget: ids with commas between, or a file of ids, one a line, or an .npy of places; the others are "
    "retained."
)
RETAIN_HELP = "Samples to retain, in the same form, in place of --forget; the others are forgotten."
TEST_HELP = "Samples never trained on, for the membership attack; in place of the task's own test loader."
METHOD_HELP = "fisher: noise alone; newton: a step to the retained data's minimum, and noise; ntk: a linearised one."
NOISE_HELP = "Strength of the noise, in nats times squared weights; 0 for the bare step."
DAMPING_HELP = "Added to the curvature; above 0 where that is singular, as of softmax outputs."
RIDGE_HELP = "Of the summed training loss: half of it times the squared distance to --initial, or to 0."
INITIAL_HELP = "File of the state dict from which training began."
STRUCTURE_HELP = "Of the curvature that the noise follows; diagonal for over 16,384 parameters."
RELEARN_HELP = "Count the steps until the forgotten samples are learnt again."

NAMES = {
    "forget_error": "wrong, forgotten", "retain_error": "wrong, retained", "test_error": "wrong, test",
    "forget_loss": "loss, forgotten", "retain_loss": "loss, retained", "test_loss": "loss, test",
    "membership_auc": "membership attack, AUC", "relearn_steps": "steps to relearn",
}  # fmt: skip


def command(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    noise: Annotated[float, typer.Option(metavar="NUMBER", help=NOISE_HELP)],
    forget: Annotated[str | None, typer.Option(metavar="IDS|FILE", help=FORGET_HELP)] = None,
    retain: Annotated[str | None, typer.Option(metavar="IDS|FILE", help=RETAIN_HELP)] = None,
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    test_data: Annotated[str | None, typer.Option(metavar="SPEC", help=TEST_HELP)] = None,
    method: Annotated[
        Literal["fisher", "newton", "ntk"], typer.Option(metavar="fisher|newton|ntk", help=METHOD_HELP)
    ] = "fisher",
    damping: Annotated[float, typer.Option(metavar="NUMBER", help=DAMPING_HELP)] = 0.0,
    ridge: Annotated[float, typer.Option(metavar="NUMBER", help=RIDGE_HELP)] = 0.0,
    power: Annotated[float, typer.Option(metavar="NUMBER", help="Of the curvature in the noise's covariance.")] = -0.5,
    structure: Annotated[
        Literal["full", "diagonal"], typer.Option(metavar="full|diagonal", help=STRUCTURE_HELP)
    ] = "full",
    initial: Annotated[str | None, typer.Option(metavar="FILE", help=INITIAL_HELP)] = None,
    relearn: Annotated[bool, typer.Option("--relearn", help=RELEARN_HELP)] = False,
    seed: Annotated[int, typer.Option(parser=whole(0), metavar="INTEGER", help="Of the noise.")] = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="File for the new state dict, such as new.pt.")
    ] = None,
    threads: Annotated[int | None, count_option("Threads that compute; all cores where not given.")] = None,
) -> None:
    """Scrubs the weights; prints the bound and what can be read out before and after."""
    if (forget is None) == (retain is None):
        got = "neither" if forget is None else "both"
        raise Usage(f"{WHERE}: one of --forget and --retain must be given; got {got}. Name the samples to forget.")
    if out is not None and pathlib.Path(out).is_dir():
        raise Usage(f"{WHERE}: --out must be a file; got the folder {out!r}. Name a file in it, such as new.pt.")
    if out is not None and not pathlib.Path(out).parent.is_dir():
        raise Usage(f"{WHERE}: --out must be a file in a folder that exists; got {out!r}. Make the folder first.")
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load(task, where=WHERE)
    samples = samples_to_score(loaded, task, data, where=WHERE)
    device = next(iter(loaded.task.parameters().values())).device
    x, y = samples.all_inputs(WHERE).to(device), samples.y.to(device)
    gone = np.zeros(len(samples), dtype=bool)
    gone[places("--forget" if retain is None else "--retain", forget or retain or "", samples)] = True
    gone = gone if retain is None else ~gone
    rows = torch.as_tensor(gone, device=device)
    forgotten, retained = (x[rows], y[rows]), (x[~rows], y[~rows])
    tests = data_room.read(test_data) if test_data is not None else loaded.test_data
    test = None
    if tests is not None:
        found = data_room.samples_of(tests)
        test = (found.all_inputs(WHERE).to(device), found.y.to(device))
    start = None if initial is None else read_state(pathlib.Path(initial), WHERE)
    try:
        scrubbed = edit.scrub(
            loaded.task, retained, forget=forgotten, method=method, noise=noise, power=power, damping=damping,
            ridge=ridge, initial=start, seed=seed, structure=structure,
        )  # fmt: skip
    except ConfigError as error:
        raise Usage(str(error)) from error
    sets: dict[str, Any] = {"retain": retained, "forget": forgotten, "test": test}
    before = edit.readouts(loaded.task, **sets)
    to = before.forget_loss if relearn else None
    after = edit.readouts(loaded.task, scrubbed.weights, **sets, relearn_to=to)
    if out is not None:
        checkpoint.write(pathlib.Path(out), edit.with_weights(loaded.task, scrubbed.weights).model.state_dict())
    if terminal.json:
        terminal.result({
            "out": out, "method": method, "structure": structure, "noise": noise, "bound": scrubbed.bound,
            "residual": scrubbed.residual, "quadratic_error": scrubbed.quadratic_error, "holds": scrubbed.holds,
            "kind": scrubbed.kind, "num_weights": len(scrubbed.weights), "num_frozen": scrubbed.frozen,
            "num_forgotten": int(gone.sum()), "num_retained": int((~gone).sum()),
            "before": dataclasses.asdict(before), "after": dataclasses.asdict(after),
        })  # fmt: skip
    else:
        show(terminal, scrubbed, before, after, int(gone.sum()), len(samples), out)


def places(option: str, text: str, samples: Samples) -> np.ndarray:
    """Places of the samples that are named, by ids or in a file."""
    path = pathlib.Path(text)
    is_file = len(text) < 256 and path.is_file()
    if is_file and path.suffix == ".npy":
        try:
            found = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise StoreError(
                f"{WHERE}: {path} must be an array of NumPy; got {error}. Save it with numpy.save."
            ) from error
        if found.ndim != 1 or found.dtype.kind not in "iu" or ((found < 0) | (found >= len(samples))).any():
            raise Usage(
                f"{WHERE}: {option} must be places, 0 to {len(samples) - 1}; got {found.dtype} {list(found.shape)} in "
                f"{path}. Save an array of whole numbers."
            )
        return found
    ids = path.read_text().splitlines() if is_file else text.split(",")
    known = {name: place for place, name in enumerate(samples.ids)}
    wanted = [name.strip() for name in ids if name.strip()]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            todo = (
                f"Did you mean {near[0]!r}?" if near else "There is no such file either: correct the ids or the path."
            )
            raise Usage(f"{WHERE}: {option} must name samples of the data; got {name!r}. {todo}")
    return np.array([known[name] for name in wanted], dtype=np.int64)


def show(
    terminal: Terminal, scrubbed: edit.Scrubbed, before: edit.Readouts, after: edit.Readouts, gone: int, N: int,
    out: str | None,
) -> None:  # fmt: skip
    terminal.say(f"{gone:,} of {N:,} samples forgotten, {scrubbed.method}, {scrubbed.structure} curvature:")
    terminal.say()
    rows = [
        [said, text_of(name, getattr(before, name)), text_of(name, getattr(after, name))]
        for name, said in NAMES.items()
        if getattr(after, name) is not None
    ]
    terminal.table(["", "before", "after"], rows, right=[1, 2])
    terminal.say()
    for part in textwrap.wrap(told(scrubbed), WIDTH):
        terminal.say(part)
    terminal.say()
    bound = f"{number(scrubbed.bound)} nats"
    held = f"{bound} that the weights may still tell" if scrubbed.holds else f"none that holds; {bound} by the formula"
    left = f"{number(scrubbed.quadratic_error)} nats, by the next step: 0 for a quadratic loss"
    terminal.facts([
        *([("bound", held), ("left out", left)] if bool(scrubbed.cov.any()) else [("bound", "none without noise")]),
        ("edited", f"{len(scrubbed.weights):,} weights"),
        *([("frozen", f"{scrubbed.frozen:,} weights, as they were: no bound is of them")] if scrubbed.frozen else []),
        ("weights", "not kept. Add --out FILE.pt" if out is None else out),
    ])  # fmt: skip


def told(scrubbed: edit.Scrubbed) -> str:
    """What may be concluded, before any bound."""
    if not bool(scrubbed.cov.any()):
        return "The table is measured. There is no bound on what others may read out: without noise nothing hides it."
    if scrubbed.holds:
        said = "The table is measured. The bound is of a quadratic loss, and at these weights this loss is nearly one."
    else:
        said = (
            "The table is measured, and all that holds here: it says what these attackers see. The bound assumes a "
            "loss that is quadratic in the weights. This one is not, or --damping shortens the step: past the weights "
            f"for which the bound is made, the next step is {number(scrubbed.quadratic_error)} nats long. Do not quote "
            "it."
        )
    return said if not scrubbed.frozen else (
        f"{said} Frozen weights, and the statistics of normalization layers, may tell of the samples as before."
    )  # fmt: skip


def text_of(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.endswith("_error"):
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if name == "membership_auc" else number(value)
