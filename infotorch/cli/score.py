"""``infotorch score``: every sample of a user's task, by one measure or several."""

import inspect
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer

from infotorch import data as data_room
from infotorch import measures, pipeline, store
from infotorch.cli import flags
from infotorch.cli.checkpoints import show_trajectory
from infotorch.cli.dry_run import show_plan
from infotorch.cli.failures import Usage
from infotorch.cli.load import Loaded, load
from infotorch.cli.rows import Rows, columns_of
from infotorch.cli.terminal import Terminal
from infotorch.cli.torchrun import process_group
from infotorch.errors import ConfigError, unknown
from infotorch.pipeline.fidelity import DEFAULT_SUBSET as SUBSET
from infotorch.table import Scores, stem_of

TOP = 10
BATCH, SHARD = 256, 65_536
DEFAULT = "unique_information"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip

TASK_HELP = (
    "package.module:callable or path/to/file.py:callable. The callable returns a Task, (task, loader) or "
    "(task, loader, test_loader)."
)
DATA_HELP = (
    "Samples: a file (.npz, .parquet, .csv), a folder of pictures with one folder a class, npy:FOLDER, or reader:path; "
    "in place of the task's own loader."
)
TEST_HELP = (
    "Samples on which predictions are compared, for measures in function space; in place of the task's own test loader."
)
MEASURE_HELP = f"What to measure; repeat it for several. One of: {', '.join(measures.REGISTRY)}. \\[default: {DEFAULT}]"
FIDELITY_HELP = "Samples on which sketched scores are compared with the exact ones; 0 for none."
FEATURES_HELP = (
    "Folder in which the features of --form primal stay, for other labels, times and ridges. "
    "\\[default: RUN.features.tmp, deleted when the run is whole]"
)
DTYPE_HELP = "In which features are kept: float32, float64, or bfloat16 for half the disk."
STREAM_HELP = "Read the task's own loader in every pass, and never hold all of its inputs in memory."
CHECKPOINTS_HELP = (
    "Folder of checkpoints, or a glob such as 'ckpt/step-*.pt': score at each of them, in the order of the numbers in "
    "their names; RUN then holds a run for each, and their means."
)
KEY_HELP = "Under which the checkpoints' files have the state dict; default: they are one."
DRY_RUN_HELP = "Say what the run would take, in seconds, memory and room on disk; score and keep nothing."
MEMORY_HELP = "Memory that may be used, such as 4GB or 512MiB; a larger problem is refused."


def count_option(help: str) -> Any:
    return typer.Option(parser=flags.whole(1), metavar="INTEGER", help=help)


def command(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    measure: Annotated[list[str] | None, typer.Option(metavar="NAME", help=MEASURE_HELP)] = None,
    out: Annotated[str | None, typer.Option(metavar="RUN", help="Folder to keep the run in, made or resumed.")] = None,
    test_data: Annotated[str | None, typer.Option(metavar="SPEC", help=TEST_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(metavar="SIZE", help=MEMORY_HELP)] = None,
    batch_size: Annotated[int, count_option("Samples in one forward pass.")] = BATCH,
    shard_size: Annotated[int, count_option("Samples in one file of the run.")] = SHARD,
    features: Annotated[str | None, typer.Option(metavar="FOLDER", help=FEATURES_HELP)] = None,
    feature_dtype: Annotated[str | None, typer.Option(metavar="DTYPE", help=DTYPE_HELP)] = None,
    fidelity: Annotated[int, typer.Option(parser=flags.whole(0), metavar="INTEGER", help=FIDELITY_HELP)] = SUBSET,
    stream: Annotated[bool, typer.Option("--stream", help=STREAM_HELP)] = False,
    checkpoints: Annotated[str | None, typer.Option(metavar="SPEC", help=CHECKPOINTS_HELP)] = None,
    checkpoint_key: Annotated[str | None, typer.Option(metavar="NAME", help=KEY_HELP)] = None,
    threads: Annotated[int | None, count_option("Threads that compute; all cores where not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN_HELP)] = False,
    **fields: Any,
) -> None:
    """Scores the task's samples; prints the ten to look at first, and where the run is."""
    group = process_group()
    is_first = group is None or dist.get_rank() == 0
    chosen = names(measure or [DEFAULT])
    limit = None if memory_limit is None else size(memory_limit)
    settings = flags.settings(measures.REGISTRY, chosen, {k: v for k, v in fields.items() if v is not None})
    if threads is not None:
        torch.set_num_threads(threads)
    if test_data is not None and not any("test_data" in takes(measures.REGISTRY[name]) for name in chosen):
        raise Usage(
            f"score: --test-data needs a measure that compares predictions; got {', '.join(chosen)}. Leave it out."
        )
    if checkpoint_key is not None and checkpoints is None:
        raise Usage("score: --checkpoint-key goes with --checkpoints; got it alone. Leave it out.")
    if dry_run and checkpoints is not None:
        raise Usage("score: --dry-run plans the task's own network; got --checkpoints as well. Leave one of them out.")
    loaded = load(task)
    samples = samples_to_score(loaded, task, data, stream=stream)
    given = data_room.read(test_data) if test_data is not None else loaded.test_data
    tests = None if given is None else data_room.inputs_of(given)
    built = [build(name, values, tests) for name, values in zip(chosen, settings, strict=True)]
    options = {"data": data, "test_data": test_data, "memory_limit": limit}
    options |= {"batch_size": batch_size} if batch_size != BATCH else {}
    options |= {"shard_size": shard_size} if shard_size != SHARD else {}
    options |= {"features": features} if features is not None else {}
    options |= {"feature_dtype": feature_dtype} if feature_dtype is not None else {}
    options |= {"stream": True} if stream else {}
    options |= {"threads": threads} if threads is not None else {}
    options |= {"fidelity": fidelity} if fidelity != SUBSET else {}
    options |= {"checkpoints": checkpoints, "checkpoint_key": checkpoint_key} if checkpoints is not None else {}
    record = {
        "command": "score", "task": task, "data": data, "test_data": test_data,
        "argv": line(task, chosen, {**options, **{k: v for values in settings for k, v in values.items()}}),
    }  # fmt: skip
    shown = terminal if is_first else replace(terminal, quiet=True)
    with shown.progress() as progress, flags.spoken(measures.REGISTRY), terminal.warnings():
        how: dict[str, Any] = {
            "out": out, "memory_limit": limit, "batch_size": batch_size, "shard_size": shard_size,
            "progress": progress, "command": record if out is not None else None, "features": features,
            "feature_dtype": feature_dtype, "fidelity": fidelity, "group": group,
        }  # fmt: skip
        if dry_run:
            plan = pipeline.score_plan(loaded.task, samples, built, **{k: v for k, v in how.items() if k != "group"})
        elif checkpoints is None:
            scores = pipeline.score(loaded.task, samples, built, **how)
        else:
            found = pipeline.score_checkpoints(loaded.task, samples, built, checkpoints, key=checkpoint_key, **how)
    if not is_first:
        return
    if dry_run:
        show_plan(terminal, plan, out)
    elif checkpoints is None:
        show(terminal, scores, samples, out)
    else:
        show_trajectory(terminal, found, rows_of(found.tables[0], samples), out, TOP)


def rows_of(scores: Scores, samples: data_room.Samples) -> Rows:
    return Rows(
        scores=scores,
        ids=samples.ids,
        labels=samples.y.tolist() if samples.y.ndim == 1 else [None] * len(samples),
        names=dict(enumerate(samples.label_names or ())),
    )


def show(terminal: Terminal, scores: Scores, samples: data_room.Samples, out: str | None) -> None:
    rows = rows_of(scores, samples)
    if terminal.json:
        columns = columns_of(scores)
        terminal.result({
            "run": out, "main": scores.main, "index": scores.index.tolist(), "id": list(rows.ids),
            "label": samples.y.tolist(),
            "columns": {n: {**columns[n], "values": c.values.tolist()} for n, c in scores.columns.items()},
        })  # fmt: skip
        return
    top = rows.suspicious(TOP)
    residual = rows.named("own_residual")
    asked = [name for name in (rows.named(stem_of(scores.main or "")) or scores.main, residual) if name]
    terminal.say(f"{len(scores):,} samples scored; the {len(top)} to look at first:")
    terminal.say()
    rows.print(terminal, top, list(dict.fromkeys(asked)))
    terminal.say()
    if out is None:
        terminal.say("Nothing was kept. Add --out RUN to keep the scores and to make a report.")
    else:
        terminal.facts([*fidelity_facts(out), ("run", out), ("report", f"infotorch report {shlex.quote(out)} --open")])


def fidelity_facts(out: str) -> list[tuple[str, str]]:
    """How near sketched scores come to the exact ones, where the run has a sketch."""
    facts = []
    for found in store.open(out).notes().get("fidelity") or []:
        for name, with_exact in found["columns"].items():
            rank = with_exact["spearman"]
            text = f"Spearman {'undefined' if rank is None else f'{rank:.3f}'} with exact {name.replace('_', ' ')}"
            facts.append(("fidelity", f"{text}, on {found['num_samples']:,} samples"))
        if found["why_not"]:
            facts.append(("fidelity", f"not measured: {found['why_not']}"))
        facts.append(("sketch", f"{found['dim']:,} numbers, for {found['effective_dimension']:,.0f} directions in use"))
    return facts


def samples_to_score(
    loaded: Loaded, task: str, data: str | None, *, where: str = "score", stream: bool = False
) -> data_room.Samples:
    """Those of --data, or else of the task's own loader."""
    if data is None and loaded.data is None:
        raise Usage(
            f"{where}: there must be samples to score; got no --data, and {task.rpartition(':')[2]}() returns none. "
            "Give --data SPEC, or return (task, loader)."
        )
    if data is None:
        return (data_room.streamed if stream else data_room.samples_of)(loaded.data)
    if stream:
        raise Usage(f"{where}: --stream is for the task's own loader; got --data as well. Leave one of them out.")
    return data_room.read(data)


def names(measure: Sequence[str], *, where: str = "score") -> list[str]:
    """The measures asked for, each once."""
    chosen = list(dict.fromkeys(part.strip() for name in measure for part in name.split(",") if part.strip()))
    for name in chosen:
        if name not in measures.REGISTRY:
            raise Usage(str(unknown(where, "--measure", name, measures.REGISTRY)))
    return chosen


def takes(measure: type) -> list[str]:
    return list(inspect.signature(measure).parameters)


def build(name: str, values: dict[str, Any], tests: Any) -> measures.Measure:
    """The measure with its settings."""
    cls = measures.REGISTRY[name]
    given = {"test_data": tests} if tests is not None and "test_data" in takes(cls) else {}
    try:
        with flags.spoken(measures.REGISTRY):
            return cls(**values, **given)
    except ConfigError as error:
        raise Usage(str(error)) from error


def size(text: str, *, where: str = "score") -> int:
    """Bytes, from 4GB, 512MiB, 2e9."""
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    unit = UNITS.get(found[2].upper()) if found else None
    try:
        value = int(float(found[1]) * unit) if found and unit else 0
    except ValueError:
        value = 0
    if value <= 0:
        raise Usage(f"{where}: --memory-limit must be a size; got {text!r}. Write it as 4GB or 512MiB.")
    return value


def line(task: str, chosen: Sequence[str], options: dict[str, Any]) -> str:
    """The command that repeats the run; values as they were understood, so that 1e-1 and 0.1 are one command."""
    words = ["infotorch", "score", task]
    for name in chosen:
        words += ["--measure", name]
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):
            words += [flag, ",".join(map(str, value)) + ("," if len(value) == 1 else "")]
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join([*words, "--out", "RUN"])


own = list(inspect.signature(command).parameters.values())[:-1]
command.__signature__ = inspect.Signature([  # type: ignore[attr-defined]  # typer reads the flags of the measures here
    *own, *flags.parameters(measures.REGISTRY, but=["test_data"])
])  # fmt: skip
