"""``infotorch embed``: how far tasks are from each other, by what each needs of one probe network."""

import json
import pathlib
from typing import Annotated, Any, Literal

import numpy as np
import typer

from infotorch import pipeline
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.load import load
from infotorch.cli.pages import DISTANCES, distances_page, short
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number, plain
from infotorch.errors import ConfigError
from infotorch.measures import Embedding, task_distance
from infotorch.report.distances import Tree, tree
from infotorch.store.files import write_bytes

WIDTH, CELL, NAME = 80, 7, 16
"""Columns of the screen, of a distance, and that a task's name has at least."""
TASK_HELP = (
    "package.module:callable or path/to/file.py:callable, one for each task. The callable returns (task, data), the "
    "task with one probe and a head of its own, trained."
)
PROBE_HELP = "Layers of the probe, with commas between: paths, or globs such as 'conv*'; the head is left out."
LABELS_HELP = "Whose labels: the model's own (exact), or those of the data, which is another quantity."
METHOD_HELP = "Fisher information, or 1 / variance of a variational network."
KIND_HELP = "Which distance."
FLOOR_HELP = "Raise smaller values to it, for distances that are undefined where a filter has no information."
OUT_HELP = "Folder to keep embeddings, distances and their chart in; what is there already is not embedded again."


def command(
    terminal: Terminal,
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help=TASK_HELP)],
    probe_layers: Annotated[str, typer.Option(metavar="NAME,...", help=PROBE_HELP)],
    labels: Annotated[
        Literal["exact", "empirical"], typer.Option(metavar="exact|empirical", help=LABELS_HELP)
    ] = "exact",
    method: Annotated[
        Literal["fisher", "variational"], typer.Option(metavar="fisher|variational", help=METHOD_HELP)
    ] = "fisher",
    balance: Annotated[bool, typer.Option("--balance", help="Every class weighs the same.")] = False,
    kind: Annotated[
        Literal["cosine", "kl", "asymmetric_kl", "variance_cosine", "correlation", "entropy"],
        typer.Option(metavar="KIND", help=KIND_HELP),
    ] = "cosine",
    floor: Annotated[float | None, typer.Option(metavar="NUMBER", help=FLOOR_HELP)] = None,
    batch_size: Annotated[int, typer.Option(parser=whole(1), metavar="INTEGER", help="Samples of a batch.")] = 256,
    out: Annotated[str | None, typer.Option(metavar="DIR", help=OUT_HELP)] = None,
) -> None:
    """Prints the distance of every two tasks, and which are near; one task's embedding alone needs --json or --out."""
    if repeated := sorted({task for task in tasks if tasks.count(task) > 1}):
        raise Usage(f"embed: every TASK must be named once; got {repeated[0]} again. Leave it out.")
    layers = [name.strip() for name in probe_layers.split(",") if name.strip()]
    options: dict[str, Any] = {"probe_layers": layers, "labels": labels, "method": method, "balance": balance}
    makers = {spec: (lambda spec=spec: loaded(spec)) for spec in tasks}
    try:
        with terminal.progress() as progress:
            found, there = pipeline.embed_tasks(makers, out=out, batch_size=batch_size, progress=progress, **options)
    except ConfigError as error:
        if "probe_layers" in str(error):
            text = str(error).replace("task_embedding: ", "embed: ").replace("probe_layers", "--probe-layers")
            raise Usage(text) from error
        raise
    names = short(tasks)
    values = np.array([[task_distance(a, b, kind=kind, floor=floor) if a is not b else 0.0 for b in found.values()]
                       for a in found.values()])  # fmt: skip
    shape = tree(values) if len(tasks) > 1 else None
    if out is not None and shape is not None:
        keep(pathlib.Path(out), tasks, values, kind, shape)
    if terminal.json:
        terminal.result({
            "tasks": tasks, "names": names, "kind": kind, "probe_layers": layers, "read": list(there),
            "distances": values.tolist(), "order": None if shape is None else list(shape.order),
            "merges": None if shape is None else merges(shape), "out": out,
            "embeddings": [embedding.to_dict() for embedding in found.values()],
        })  # fmt: skip
        return
    show(terminal, found, names, values, kind, shape)
    facts = [("filters", f"{len(next(iter(found.values()))):,}, of layer{'s' * (len(layers) > 1)} {', '.join(layers)}")]
    facts += [("read", f"{len(there)} of {len(tasks)} embeddings were there")] if there else []
    if out is not None:
        facts += [("kept", out), *([("chart", str(pathlib.Path(out) / f"{DISTANCES}.html"))] if shape else [])]
    terminal.facts(facts)


def loaded(spec: str) -> tuple[Any, Any]:
    found = load(spec, where="embed")
    if found.data is None:
        raise Usage(f"embed: {spec} must return (task, data); got a Task alone. Return the task's data beside it.")
    return found.task, found.data


def merges(shape: Tree) -> list[dict[str, Any]]:
    return [{"distance": height, "left": list(left), "right": list(right)} for height, left, right in shape.merges]


def keep(folder: pathlib.Path, tasks: list[str], values: np.ndarray, kind: str, shape: Tree) -> None:
    entries = {
        "kind": kind, "tasks": tasks, "distances": values.tolist(), "order": list(shape.order), "merges": merges(shape),
    }  # fmt: skip
    distances_page(entries, folder / f"{DISTANCES}.html")
    write_bytes(folder / f"{DISTANCES}.json", json.dumps(entries).encode())


def _fitted(value: float) -> str:
    """As many of three digits as a cell of the matrix has room for."""
    return next((text for n in (3, 2) if len(text := f"{value:.{n}g}") <= CELL - 2), f"{value:.0e}")


def show(
    terminal: Terminal, found: dict[str, Embedding], names: list[str], values: np.ndarray, kind: str, shape: Tree | None
) -> None:
    """The matrix in the order of the tree where it fits the screen, else each task's nearest; then what is joined."""
    losses = [embedding.meta.get("head_loss") for embedding in found.values()]
    said = ["" if loss is None else number(loss) for loss in losses]
    if shape is None:
        terminal.table(["task", "samples", "head loss"],
                       [[names[0], f"{next(iter(found.values())).num_samples:,}", said[0]]], right=(1, 2))  # fmt: skip
        terminal.say()
        return
    terminal.say(f"{kind.replace('_', ' ')} distance of {len(names)} tasks, near ones beside each other:")
    terminal.say()
    order = shape.order
    if NAME + CELL * (len(names) + 1) + 6 <= WIDTH:
        head = ["", "task", *(str(i + 1) for i in range(len(names))), "head loss"]
        body = [
            [str(i + 1), names[a], *("." if a == b else _fitted(values[a, b]) for b in order), said[a]]
            for i, a in enumerate(order)
        ]  # fmt: skip
        terminal.table(head, body, right=range(2, len(head)))
    else:
        away = values + np.diag(np.full(len(names), np.inf))
        body = [
            [names[a], names[int(away[a].argmin())], number(float(away[a].min())), said[a]] for a in order
        ]  # fmt: skip
        terminal.table(["task", "nearest", "distance", "head loss"], body, right=(2, 3))
    terminal.say()
    rows = [
        [number(height), " + ".join(", ".join(plain(names[i]) for i in side) for side in (left, right))]
        for height, left, right in shape.merges
    ]
    terminal.table(["joined at", "tasks"], rows, right=(0,))
    terminal.say()
