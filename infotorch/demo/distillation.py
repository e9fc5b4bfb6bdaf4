"""A small student of handwritten digits, alone and taught by a larger network: at its end, and as it was on the way."""

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch.data import Samples
from infotorch.demo.digits import parts
from infotorch.demo.folder import free_folder
from infotorch.demo.single import one_thread
from infotorch.store.files import write_bytes
from infotorch.train import TeacherPath, distill
from infotorch.train.evaluation import evaluating
from infotorch.train.options import default_optimizer

__all__ = ["DistillDemoResult", "DistillDemoRow", "run_distill"]

NUM_TRAIN, NUM_TEST, NUM_SEEDS = 300, 1000, 3
EPOCHS, BATCH, LR, EVERY = 60, 50, 3e-3, 5
STEPS, EVERY_STEPS = EPOCHS * NUM_TRAIN // BATCH, EVERY * NUM_TRAIN // BATCH
STUDENTS: dict[str, dict[str, Any]] = {
    "labels, no teacher": {"alpha": 0.0},
    "teacher's end, tau 1": {"mode": "offline"},
    "teacher's way, tau 1": {"mode": "online"},
    "teacher's end, tau 4": {"mode": "offline", "tau": 4.0},
    "teacher's way, tau 4": {"mode": "online", "tau": 4.0},
}
ALONE, *TAUGHT = STUDENTS
TEACHER = "labels: the teacher itself"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillDemoRow:
    """What one way of training gave."""

    name: str
    """What the network was trained on."""
    accuracy: float
    """Share of the test digits, the mean over seeds."""
    accuracy_stderr: float
    """Standard error of that mean."""
    fidelity: float
    """Share of the test digits on which it names the teacher's class."""
    fidelity_stderr: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillDemoResult:
    """What the demo found, and where it wrote it."""

    rows: list[DistillDemoRow]
    """The teacher, then the students."""
    num_train: int
    num_seeds: int
    statement: str
    """What the figures show, in words."""
    out: pathlib.Path
    """Where the teachers' paths are, a folder a seed."""
    results: pathlib.Path
    """The rows as JSON."""


def network(hidden: int) -> nn.Module:
    """64 inputs, ten classes."""
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def batches(train: Samples, seed: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    """The digits in an order drawn anew in each pass."""
    assert isinstance(train.x, torch.Tensor)  # digits are not streamed
    return DataLoader(
        TensorDataset(train.x, train.y), BATCH, shuffle=True, generator=torch.Generator().manual_seed(seed)
    )


def taught(folder: pathlib.Path, train: Samples, seed: int) -> TeacherPath:
    """A teacher's path; one that is whole is not trained again."""
    torch.manual_seed(seed)
    teacher = network(256)
    if (folder / "path.json").exists():
        path = TeacherPath(folder, model=teacher)
        if len(path) == 1 + STEPS // EVERY_STEPS:
            return path
    recording = TeacherPath.record(teacher, EVERY_STEPS, folder, dtype="float32")
    optimizer = default_optimizer(teacher, LR)
    loader = batches(train, seed)
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(teacher(x), y).backward()
            optimizer.step()
            recording.step()
    return TeacherPath(folder, model=teacher)


def run_distill(
    out: str | pathlib.Path = "infotorch-demo-distill",
    *,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> DistillDemoResult:
    """Trains a 64-256-10 teacher on 300 digits and five 64-16-10 students, for each of three seeds, by Adam.

    The students learn from the labels alone, from the teacher at its end (offline) and from its checkpoints of every
    fifth epoch (online), at temperatures 1 and 4 (Harutyunyan et al., arXiv 2301.12245); all are tested on 1,000 other
    digits. One thread, which is fastest for networks so small.

    Args:
        out: Folder for the teachers' checkpoints and the results; teachers that are there are used.
        seed: Of the first split, weights and batches; the next two seeds follow it.
        progress: Called with ("distilling", students done, students).

    Raises:
        MissingExtraError: scikit-learn is not installed.
        StoreError: ``out`` is a run, holds half a teacher, or can't be written.
    """
    out = free_folder(out)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (TEACHER, *STUDENTS)}
    with one_thread():
        for k in range(NUM_SEEDS):
            train, test = parts([NUM_TRAIN, NUM_TEST], torch.Generator().manual_seed(seed + k))
            path = taught(out / f"teacher-{seed + k}", train, seed + k)
            teacher = path.module(len(path) - 1)
            found[TEACHER].append(measured(teacher, teacher, test))
            for n, (name, options) in enumerate(STUDENTS.items(), 1):
                torch.manual_seed(1000 + seed + k)
                student = network(16)
                optimizer = default_optimizer(student, LR)
                distill(student, batches(train, seed + k), optimizer, teacher=path, steps=STEPS, **options)
                found[name].append(measured(student, path.module(len(path) - 1), test))
                if progress is not None:
                    progress("distilling", k * len(STUDENTS) + n, NUM_SEEDS * len(STUDENTS))
    rows = [row(name, figures) for name, figures in found.items()]
    results = out / "distill.json"
    write_bytes(results, (json.dumps([dataclasses.asdict(each) for each in rows], indent=1) + "\n").encode())
    return DistillDemoResult(
        rows=rows, num_train=NUM_TRAIN, num_seeds=NUM_SEEDS, statement=statement(found), out=out, results=results
    )


def measured(network: nn.Module, teacher: nn.Module, test: Samples) -> tuple[float, float]:
    """Accuracy, and agreement with the teacher, on the test digits."""
    with evaluating(network, teacher):
        predicted, taught = network(test.x).argmax(1), teacher(test.x).argmax(1)
    return float((predicted == test.y).double().mean()), float((predicted == taught).double().mean())


def row(name: str, figures: list[tuple[float, float]]) -> DistillDemoRow:
    """Means over seeds, with standard errors."""
    accuracy, fidelity = zip(*figures, strict=True)
    return DistillDemoRow(
        name=name, accuracy=statistics.mean(accuracy), accuracy_stderr=stderr(accuracy),
        fidelity=statistics.mean(fidelity), fidelity_stderr=stderr(fidelity),
    )  # fmt: skip


def stderr(values: tuple[float, ...]) -> float:
    """Standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def statement(found: dict[str, list[tuple[float, float]]]) -> str:
    """How the best taught student does against the one alone, seed by seed."""
    gains = {name: tuple(a - b for (a, _), (b, _) in zip(found[name], found[ALONE], strict=True)) for name in TAUGHT}
    best = max(gains, key=lambda name: statistics.mean(gains[name]))
    gain, error = 100 * statistics.mean(gains[best]), 100 * stderr(gains[best])
    said = "On digits distillation does not help" if gain < 2 * error or gain <= 0 else "Here distillation helps"
    return f"{said}: the best taught student ({best}) gains {gain:+.1f} ± {error:.1f} points on the one alone."
