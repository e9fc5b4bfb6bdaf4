"""``infotorch train limit``: a user's classifier, trained so that it doesn't memorise wrong labels."""

import inspect
import re
import shlex
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import typer

from infotorch import data as data_room
from infotorch import pipeline, store
from infotorch.cli import flags
from infotorch.cli.failures import Usage
from infotorch.cli.load import load
from infotorch.cli.rows import Rows
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.errors import ConfigError
from infotorch.measures.label_info import NLL
from infotorch.train.options import LimitOptions

WHERE = "train"
TOP, WIDTH = 10, 80
REGISTRY: Mapping[str, type] = {"limit": LimitOptions}
OWN = ("scores", "select", "check_finite")
"""Settings that follow from the command's own."""

TASK_HELP = (
    "package.module:callable or path/to/file.py:callable. The callable returns a Task, (task, loader) or "
    "(task, loader, test_loader); it is called a second time for the auxiliary network."
)
AUX_HELP = "Callable as TASK whose Task has the auxiliary network; default TASK's own, called once more."
DATA_HELP = (
    "Samples: a file (.npz, .parquet, .csv), a folder of pictures with one folder a class, npy:FOLDER, or reader:path; "
    "in place of the task's own loader."
)
TEST_HELP = "Samples with right labels, only to be measured on; in place of the task's own test loader."
NOISE_HELP = (
    "Labels to train on in place of the data's, which then count as right: uniform:RATE, pair:RATE, "
    "symmetric_inclusive:RATE, cifar10_asym:RATE, or file:PATH (.npy, or one label a line)."
)
BESIDE_HELP = "A run of the same samples whose scores stand beside these in the report, joined by id."
VAL_HELP = "Share of the samples held out to choose the best epoch by; 0: train on all, take the last."
COMPARE_HELP = "Train by plain cross-entropy too, for comparison."


def command(
    terminal: Terminal,
    method: Annotated[Literal["limit"], typer.Argument(metavar="limit", help="How.", show_default=False)],
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    out: Annotated[str, typer.Option(metavar="RUN", help="Folder to keep the run in, made or resumed.")],
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    aux: Annotated[str | None, typer.Option(metavar="AUX", help=AUX_HELP)] = None,
    noise: Annotated[str | None, typer.Option(metavar="NOISE", help=NOISE_HELP)] = None,
    test_data: Annotated[str | None, typer.Option(metavar="SPEC", help=TEST_HELP)] = None,
    val_fraction: Annotated[float, typer.Option(metavar="NUMBER", help=VAL_HELP)] = 0.1,
    batch_size: Annotated[
        int, typer.Option(parser=flags.whole(1), metavar="INTEGER", help="Samples in one step.")
    ] = 128,
    beside: Annotated[str | None, typer.Option(metavar="RUN", help=BESIDE_HELP)] = None,
    compare: Annotated[bool, typer.Option("--compare", help=COMPARE_HELP)] = False,
    threads: Annotated[
        int | None,
        typer.Option(parser=flags.whole(1), metavar="INTEGER", help="Threads that compute; all cores by default."),
    ] = None,
    **fields: Any,
) -> None:
    """Trains; prints the labels to look at first, what was memorised, and where the run is."""
    given = {name: value for name, value in fields.items() if value is not None}
    (settings,) = flags.settings(REGISTRY, [method], given, where=WHERE)
    seed = checked(settings).seed
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)  # of weights, where the user's function draws them without a seed of its own
    loaded = load(task, where=WHERE)
    assert loaded.again is not None
    second = load(aux, where=WHERE) if aux is not None else loaded.again()
    source = data_room.read(data) if data is not None else loaded.data
    if source is None:
        raise Usage(
            f"{WHERE}: there must be samples to train on; got no --data, and {task.rpartition(':')[2]}() returns none. "
            "Give --data SPEC, or return (task, loader)."
        )
    test = data_room.read(test_data) if test_data is not None else loaded.test_data
    own = {"data": data, "aux": aux, "noise": noise, "test_data": test_data, "val_fraction": val_fraction}
    own |= {"batch_size": batch_size, "beside": beside, "compare": compare}
    with flags.spoken(REGISTRY):
        run = pipeline.train_limit(
            loaded.task, source, aux=second.task, out=out, noise=noise, val_fraction=val_fraction,
            batch_size=batch_size, test_data=test, beside=beside, compare=compare,
            progress=False if terminal.quiet else True,
            command={"command": "train", "task": task, "aux": aux, "argv": line(method, task, own | settings)},
            **settings,
        )  # fmt: skip
    show(terminal, run, out)


def checked(settings: Mapping[str, Any]) -> LimitOptions:
    """The settings of the training; those that contradict each other are bad usage."""
    try:
        with flags.spoken(REGISTRY):
            return LimitOptions(**settings)
    except ConfigError as error:
        raise Usage(re.sub(r"^LimitTrainer", WHERE, str(error))) from error


def line(method: str, task: str, options: Mapping[str, Any]) -> str:
    """The command that repeats the run."""
    words = ["infotorch", "train", method, task]
    defaults = {p.name: p.default for p in inspect.signature(command).parameters.values()}
    for key, value in options.items():
        if value is None or value == defaults.get(key):
            continue
        flag = "--" + key.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join([*words, "--out", "RUN"])


def show(terminal: Terminal, run: store.Run, out: str) -> None:
    scores, notes = run.scores(), run.notes()
    samples = run.samples(["id", "label"]).to_pydict()
    if terminal.json:
        terminal.result(
            {"run": out, "figures": notes["figures"], "finding": notes["finding"]["text"], **notes["limit"]}
        )
        return
    rows = Rows(
        scores=scores, ids=samples["id"], labels=samples["label"],
        names=dict(enumerate(run.manifest["data"].get("label_names") or ())),
    )  # fmt: skip
    top = rows.suspicious(TOP)
    terminal.say(f"{len(scores):,} labels trained on; the {len(top)} to look at first:")
    terminal.say()
    rows.print(terminal, top, [scores.main or "", "limit_xent"])
    terminal.say()
    for part in textwrap.wrap(notes["finding"]["text"], WIDTH):
        terminal.say(part)
    terminal.facts([*facts(notes["limit"]), ("run", out), ("report", f"infotorch report {shlex.quote(out)} --open")])


def facts(note: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What came of the training, beside plain cross-entropy where that was trained too."""
    last, plain = note["history"][-1], note["compared"]
    found = []
    for name, key in (("test", "test_acc"), ("validation", "val_acc")):
        if last[key] is not None:
            of = "right labels" if key == "test_acc" else "given labels"
            text = f"{100 * last[key]:.1f} % of {of} at the last epoch"
            found.append(
                (name, text + ("" if plain is None else f"; cross-entropy {100 * plain['history'][-1][key]:.1f} %"))
            )
    counts = note["memorised"]
    if counts["count"] is not None:
        text = f"{counts['count']:,} of {counts['mislabelled']:,} wrong labels, {counts['recovered']:,} seen through"
        more = "" if plain is None else f"; cross-entropy {plain['memorised']['count']:,}"
        found.append(("memorised", text + more))
    if note["detection"] is not None and note["detection"]["auroc"] is not None:
        found.append(("AUROC", f"{note['detection']['auroc']:.3f} of the label score for wrong labels"))
    if last["nats"] is not None and last["nats_of"] != NLL:
        found.append(("nats", f"{number(last['nats'])} {last['nats_of']}"))
    return found


own = list(inspect.signature(command).parameters.values())[:-1]
command.__signature__ = inspect.Signature([  # type: ignore[attr-defined]  # typer reads the trainer's settings here
    *own, *flags.parameters(REGISTRY, but=OWN)
])  # fmt: skip
