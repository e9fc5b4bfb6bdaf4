"""``infotorch summarize``: the samples that a network learns most from, and whether they beat random ones."""

import contextlib
import inspect
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer

from infotorch import data as data_room
from infotorch import measures, pipeline, store
from infotorch.cli import flags
from infotorch.cli.failures import Usage
from infotorch.cli.load import Loaded, load
from infotorch.cli.rows import titled
from infotorch.cli.score import (
    BATCH,
    DATA_HELP,
    DEFAULT,
    MEMORY_HELP,
    build,
    count_option,
    names,
    samples_to_score,
    size,
)
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import count
from infotorch.data import Samples
from infotorch.errors import ConfigError
from infotorch.measures.digest import digest_of_model
from infotorch.pipeline import Comparison, Summary
from infotorch.pipeline.retraining import check_training
from infotorch.pipeline.selection import classes_of, dropped, num_kept
from infotorch.task import Task

WHERE = "summarize"
WIDTH, MOST = 79, 20
TRAINING: dict[str, Any] = {"repeats": 5, "epochs": 100, "train_lr": 1e-3, "train_batch": 64, "optimizer": "adam"}
"""Options of --compare."""

TASK_HELP = (
    "package.module:callable or path/to/file.py:callable, as of infotorch score; or the folder of a finished run, from "
    "whose scores is chosen once. With --compare the callable is called again for each network."
)
KEEP_HELP = "How many samples: a share such as 0.3, or a number such as 300."
ROUNDS_HELP = "Score again in so many rounds, of which each drops an equal share."
BALANCED_HELP = "Keep the proportions of the classes."
BY_HELP = (
    "Column to keep the highest of. \\[default: unique information in the functions, or else in the weights, or else "
    "the measure's own]"
)
MEASURE_HELP = f"What to measure. One of: {', '.join(measures.REGISTRY)}. \\[default: {DEFAULT}]"
VALIDATION_HELP = (
    "Samples on which predictions are compared, for measures in function space, in place of the test samples: then the "
    "measure never sees these."
)
TEST_HELP = (
    "Samples with labels to test on, for --compare, and on which predictions are compared, for measures in function "
    "space; in place of the task's own test loader."
)
COMPARE_HELP = "Train new networks on the samples kept, on as many random ones, and on all, and test them."
OUT_HELP = (
    "File for the samples kept: .csv, .parquet, .jsonl or .json with ids and scores, .npy of places, .txt of ids."
)
WHOLE: dict[str, Any] = {"parser": flags.whole(1), "metavar": "INTEGER"}


def training_option(name: str, help: str, **options: Any) -> Any:
    said = f"{help} \\[default: {TRAINING[name]}]"
    return typer.Option(help=said, rich_help_panel="Options of --compare", show_default=False, **options)


def command(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK|RUN", help=TASK_HELP)],
    keep: Annotated[str, typer.Option(metavar="NUMBER", help=KEEP_HELP)],
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    measure: Annotated[str | None, typer.Option(metavar="NAME", help=MEASURE_HELP)] = None,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help=BY_HELP)] = None,
    rounds: Annotated[int, count_option(ROUNDS_HELP)] = 1,
    balanced: Annotated[bool, typer.Option("--balanced", help=BALANCED_HELP)] = False,
    out: Annotated[str | None, typer.Option(metavar="FILE", help=OUT_HELP)] = None,
    compare: Annotated[bool, typer.Option("--compare", help=COMPARE_HELP)] = False,
    test_data: Annotated[str | None, typer.Option(metavar="SPEC", help=TEST_HELP)] = None,
    validation_data: Annotated[str | None, typer.Option(metavar="SPEC", help=VALIDATION_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(metavar="SIZE", help=MEMORY_HELP)] = None,
    batch_size: Annotated[int, count_option("Samples in one forward pass.")] = BATCH,
    threads: Annotated[int | None, count_option("Threads that compute; all cores where not given.")] = None,
    repeats: Annotated[int | None, training_option("repeats", "Networks of each kind.", **WHOLE)] = None,
    epochs: Annotated[int | None, training_option("epochs", "Passes over the samples.", **WHOLE)] = None,
    train_lr: Annotated[float | None, training_option("train_lr", "Learning rate.", metavar="NUMBER")] = None,
    train_batch: Annotated[int | None, training_option("train_batch", "Samples in one step.", **WHOLE)] = None,
    optimizer: Annotated[
        Literal["adam", "sgd"] | None, training_option("optimizer", "How to train.", metavar="adam|sgd")
    ] = None,
    **fields: Any,
) -> None:
    """Keeps the most informative samples of a data set; prints how many of each class, and where they are."""
    share = number_of(keep)
    if out is not None:
        check_out(out)
    given = {name: value for name, value in fields.items() if value is not None}
    training: dict[str, Any] = {
        "repeats": repeats, "epochs": epochs, "train_lr": train_lr, "train_batch": train_batch, "optimizer": optimizer,
    }  # fmt: skip
    training = {name: value for name, value in training.items() if value is not None}
    if training and not compare:
        raise Usage(f"{WHERE}: {flag(*training)} must go with --compare; got it alone. Add --compare, or leave it out.")
    if threads is not None:
        torch.set_num_threads(threads)
    asked = {
        "data": data, "measure": measure, "validation_data": validation_data, "test_data": test_data,
        "memory_limit": memory_limit, "rounds": rounds if rounds > 1 else None, "compare": compare or None,
    }  # fmt: skip
    if pathlib.Path(task).is_dir():
        of_run(terminal, task, asked | given, share, balanced, by, out)
        return
    if ":" not in task:
        raise Usage(
            f"{WHERE}: TASK must be package.module:callable, path/to/file.py:callable or the folder of a run; got "
            f"{task!r}, which is no folder. Name the function after a colon, or correct the folder."
        )
    (name, *more) = names([measure or DEFAULT], where=WHERE)
    if more:
        raise Usage(f"{WHERE}: --measure must be one; got {', '.join([name, *more])}. Choose the one to keep by.")
    limit = None if memory_limit is None else size(memory_limit, where=WHERE)
    (settings,) = flags.settings(measures.REGISTRY, [name], given, where=WHERE)
    in_functions = settings.get("space", "weights") != "weights"
    check_tests(asked, in_functions, compare)
    options = TRAINING | training
    with bad_usage():
        check_training(options["epochs"], options["train_lr"], options["train_batch"], options["optimizer"])
    loaded = load(task, where=WHERE)
    samples = samples_to_score(loaded, task, data, where=WHERE)
    with bad_usage():
        dropped(len(samples), num_kept(share, len(samples)), rounds)
    tests = data_room.read(test_data) if test_data is not None else loaded.test_data
    tests = labelled(tests, samples) if compare else tests
    inputs = data_room.read(validation_data) if validation_data is not None else tests
    built = build(name, settings, None if inputs is None or not in_functions else data_room.inputs_of(inputs))
    with terminal.progress() as progress, flags.spoken(measures.REGISTRY), terminal.warnings():
        summary = pipeline.summarize(
            loaded.task, samples, keep=share, measure=built, rounds=rounds, balanced=balanced, by=by,
            batch_size=batch_size, memory_limit=limit, progress=progress,
        )  # fmt: skip
        if out is not None:
            write(out, summary, classes_of(samples.y))
        compared, starts = None, Starts(loaded)
        if compare:
            compared = pipeline.compare_summary(
                summary, samples, retraining(starts, tests, options), repeats=options["repeats"], progress=progress
            )
    notes = []
    if compared is not None and in_functions and validation_data is None:
        notes.append("The measure saw the test samples' inputs, though no label: --validation-data gives it others.")
    if compared is not None and len(compared.kept) > 1 and len(starts.seen) == 1:
        notes.append(
            "Every network began at the same weights, as the task's function draws them: the errors tell of the order "
            "of training and of the random samples alone."
        )
    show(terminal, summary, compared, out, notes)


class Starts:
    """The task anew at each call; remembers which initial weights there were."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.seen: set[str] = set()

    def __call__(self) -> Task:
        """Calls the user's function once more."""
        assert self.loaded.again is not None
        task = self.loaded.again().task
        self.seen.add(digest_of_model(task.model))
        return task


def retraining(starts: Starts, tests: Samples, options: Mapping[str, Any]) -> Callable[[Samples, int], float]:
    """Accuracy of a new network after training on some samples."""

    def accuracy(part: Samples, seed: int) -> float:
        return pipeline.retrain_accuracy(
            starts, part, tests, epochs=options["epochs"], lr=options["train_lr"],
            batch_size=options["train_batch"], optimizer=options["optimizer"], seed=seed,
        )  # fmt: skip

    return accuracy


def of_run(
    terminal: Terminal, run: str, asked: Mapping[str, Any], keep: float | int, balanced: bool, by: str | None,
    out: str | None,
) -> None:  # fmt: skip
    """Keeps samples by the scores of a finished run."""
    extra = [name for name, value in asked.items() if value is not None]
    if extra:
        raise Usage(
            f"{WHERE}: {flag(*extra)} needs the task, to score or to train; got the run {run!r}. Give the task, or "
            "leave it out: from a run's scores is chosen once."
        )
    opened = store.open(pathlib.Path(run))
    scores, known = opened.scores(), opened.samples(["id", "label"]).to_pydict()
    with bad_usage():
        num_kept(keep, len(scores))
    labels = known.get("label")
    whole = labels is not None and all(isinstance(label, int) for label in labels)
    summary = pipeline.summarize_scores(
        scores, keep=keep, balanced=balanced, by=by, labels=labels if whole else None, ids=known.get("id"),
        label_names=opened.manifest["data"].get("label_names"),
    )  # fmt: skip
    if out is not None:
        write(out, summary, np.asarray(labels) if whole else None)
    show(terminal, summary, None, out, [])


def number_of(keep: str) -> float | int:
    """A count, or a share."""
    try:
        return int(keep) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", keep) else float(keep)
    except ValueError:
        raise Usage(
            f"{WHERE}: --keep must be a share such as 0.3 or a number of samples such as 300; got {keep!r}. "
            f"Run: infotorch {WHERE} --help."
        ) from None


def check_out(out: str) -> None:
    """Refuses a file that could not be written, before anything is computed."""
    with bad_usage():
        store.check_ending(WHERE, out, store.SELECTED)
    path = pathlib.Path(out)
    if path.is_dir() or not path.parent.is_dir():
        raise Usage(f"{WHERE}: --out must be a file in a folder that exists; got {out!r}. Make the folder first.")


def check_tests(asked: Mapping[str, Any], in_functions: bool, compare: bool) -> None:
    """Refuses samples that nothing would be done with."""
    for name, used, what in (
        ("validation_data", in_functions, "a measure in function space"),
        ("test_data", in_functions or compare, "--compare or a measure in function space"),
    ):
        if asked[name] is not None and not used:
            raise Usage(f"{WHERE}: {flag(name)} needs {what}; got neither. Leave it out, or add --space functions.")


def labelled(tests: Any, samples: Samples) -> Samples:
    """The test samples, whose labels are classes of the data's."""
    if tests is None:
        raise Usage(
            f"{WHERE}: --compare needs samples with labels to test on; got none. Give --test-data SPEC, or return "
            "(task, loader, test_loader)."
        )
    found = data_room.samples_of(tests)
    data_room.check_same_classes(WHERE, samples, found)
    if classes_of(found.y) is None:
        raise Usage(
            f"{WHERE}: --compare counts right classes, of test labels that are whole numbers; got {found.y.dtype} "
            f"{list(found.y.shape)}. Compare it in Python, with compare_summary."
        )
    return found


@contextlib.contextmanager
def bad_usage() -> Iterator[None]:
    """What an option alone makes impossible is bad usage, told of the flag."""
    try:
        yield
    except ConfigError as error:
        text = re.sub(r"^\w+: ", "", str(error))
        for name, own in (("keep", "--keep"), ("rounds", "--rounds"), ("lr", "--train-lr")):
            text = re.sub(rf"^{name}\b", own, text)
        raise Usage(f"{WHERE}: {text}") from error


def flag(*names: str) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


def write(out: str, summary: Summary, labels: np.ndarray | None) -> None:
    """The samples kept, with label and score, in the order of the data."""
    columns: dict[str, Any] = {} if labels is None else {"label": labels[summary.kept]}
    if labels is not None and summary.label_names is not None:
        columns["label_name"] = [summary.label_names[label] for label in columns["label"]]
    columns[summary.by] = summary.values[summary.kept]
    store.write_selected(out, summary.kept, summary.kept_ids, columns)


def show(
    terminal: Terminal, summary: Summary, compared: Comparison | None, out: str | None, notes: Sequence[str]
) -> None:
    K, N = len(summary), len(summary.ids)
    if terminal.json:
        terminal.result({
            "out": out, "by": summary.by, "rounds": summary.rounds, "balanced": summary.balanced,
            "kept": summary.kept.tolist(), "id": list(summary.kept_ids), "removed": summary.removed.tolist(),
            "counts_before": summary.counts_before, "counts_after": summary.counts_after,
            "comparison": None if compared is None else {
                "verdict": compared.verdict, "finding": str(compared), "notes": list(notes),
                **{n: {"value": e.value, "stderr": e.stderr} for n, e in compared.estimates().items()},
                "each": {"kept": compared.kept, "random": compared.random, "all": compared.all},
            },
        })  # fmt: skip
        return
    rounds = f", in {count(summary.rounds)} rounds" if summary.rounds > 1 else ""
    wrapped(terminal, f"{count(K)} of {count(N)} samples kept by {titled(summary.scores, summary.by)}{rounds}.")
    if summary.counts_before and summary.counts_after:
        classes(terminal, summary, summary.counts_before, summary.counts_after)
    if compared is not None:
        accuracies(terminal, compared, K, N)
        for note in [str(compared), *notes]:
            wrapped(terminal, note)
    terminal.say()
    if out is None:
        terminal.say("Nothing was written. Add --out FILE.csv, or .parquet, .npy or .txt.")
    else:
        terminal.facts([("kept", out)])


def classes(terminal: Terminal, summary: Summary, before: Mapping[int, int], after: Mapping[int, int]) -> None:
    """A row a class, those that lost most first where there are many."""
    chosen = list(before)
    if len(chosen) > MOST:
        chosen = sorted(chosen, key=lambda label: after[label] / before[label])[:MOST]
    names = dict(enumerate(summary.label_names or ()))
    terminal.say()
    rows = [[str(names.get(label, label)), count(before[label]), count(after[label])] for label in chosen]
    terminal.table(["class", "samples", "kept"], rows, right=[1, 2])
    if len(before) > MOST:
        terminal.say(f"The {MOST} of {count(len(before))} classes that lost most; --json has all.")


def accuracies(terminal: Terminal, compared: Comparison, kept: int, total: int) -> None:
    found = compared.estimates()
    rows = []
    for name, samples in (("kept", kept), ("random", kept), ("all", total)):
        error = found[name].stderr
        rows.append([name, count(samples), f"{found[name].value:.3f}" + ("" if error is None else f" ± {error:.3f}")])
    terminal.say()
    terminal.table(["trained on", "samples", "accuracy"], rows, right=[1, 2])
    terminal.say()


def wrapped(terminal: Terminal, text: str) -> None:
    for part in textwrap.wrap(text, WIDTH):
        terminal.say(part)


own = list(inspect.signature(command).parameters.values())[:-1]
command.__signature__ = inspect.Signature([  # type: ignore[attr-defined]  # typer reads the flags of the measures here
    *own, *flags.parameters(measures.REGISTRY, but=["test_data"])
])  # fmt: skip
