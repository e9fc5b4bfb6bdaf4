"""10,000 pictures of CIFAR-10: a teacher, and a small student without it, offline and online, at temperatures 1 and 4.

python -m benchmarks.distill.cifar10 --out DIR [--seeds 3] [--train 10000] [--epochs 20] [--width 16] [--student 16]
    [--threads 2]

Each training is a file in DIR; the same command goes on where it was ended, within a student's training too.
"""

import argparse
import functools
import pathlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.distill.cells import filled, row
from benchmarks.limit import noisy_data
from infotorch.train import TeacherPath, distill
from infotorch.train.evaluation import evaluating
from infotorch.train.options import default_optimizer

BATCH, LR = 128, 1e-3
STUDENTS: dict[str, dict[str, Any]] = {
    "none": {"alpha": 0.0},
    "offline_tau1": {"mode": "offline"},
    "online_tau1": {"mode": "online"},
    "offline_tau4": {"mode": "offline", "tau": 4.0},
    "online_tau4": {"mode": "online", "tau": 4.0},
}


def net(width: int, blocks: int) -> nn.Module:
    """Convolutions of 3 x 3, ``blocks`` at each of three sizes, with batch normalization and ReLU."""
    layers: list[nn.Module] = []
    channels = 3
    for k in range(3):
        for block in range(blocks):
            out = width * 2**k
            layers += [nn.Conv2d(channels, out, 3, 2 if block == 0 and k else 1, 1, bias=False), nn.BatchNorm2d(out)]
            layers.append(nn.ReLU())
            channels = out
    stacked = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    return stacked.to(memory_format=torch.channels_last)  # what a CPU is quicker with


def loader(x: Tensor, y: Tensor, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    """Whole batches, in an order drawn anew in each pass."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(x, y), BATCH, shuffle=True, drop_last=True, generator=generator)


def train_teacher(folder: pathlib.Path, model: nn.Module, data: DataLoader[tuple[Tensor, ...]], epochs: int) -> None:
    """Cross-entropy by Adam; a checkpoint an epoch."""
    recording = TeacherPath.record(model, len(data), folder, dtype="float32")
    optimizer = default_optimizer(model, LR)
    for _ in range(epochs):
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            recording.step()


def measured(model: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy, and agreement with the teacher, on test pictures."""
    right = agree = 0
    with evaluating(model, teacher):
        for rows in torch.arange(len(x)).split(500):
            predicted = model(x[rows]).argmax(1)
            right += int((predicted == y[rows]).sum())
            agree += int((predicted == teacher(x[rows]).argmax(1)).sum())
    return {"accuracy": right / len(x), "fidelity": agree / len(x)}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The trainings of one seed."""

    folder: pathlib.Path
    seed: int
    epochs: int
    width: int
    student: int
    data: noisy_data.NoisyData
    x_test: Tensor
    y_test: Tensor

    @property
    def teacher(self) -> TeacherPath:
        """The teacher's checkpoints, one an epoch, the first before it."""
        return TeacherPath(self.folder / "teacher", model=net(self.width, 3))

    def batches(self) -> DataLoader[tuple[Tensor, ...]]:
        return loader(self.data.x, self.data.given, self.seed)

    def teach(self) -> dict[str, float]:
        """Trains the teacher from its start, and measures it."""
        shutil.rmtree(self.folder / "teacher", ignore_errors=True)  # one that was broken off
        torch.manual_seed(self.seed)
        train_teacher(self.folder / "teacher", net(self.width, 3), self.batches(), self.epochs)
        last = self.teacher.module(self.epochs)
        return measured(last, last, self.x_test, self.y_test)

    def learn(self, name: str) -> dict[str, float]:
        """Trains a student, or goes on with it, and measures it."""
        torch.manual_seed(100 + self.seed)
        student, data = net(self.student, 1), self.batches()
        distill(
            student, data, default_optimizer(student, LR), teacher=self.teacher, steps=self.epochs * len(data),
            checkpoint=self.folder / f"{name}.pt", checkpoint_every=len(data), **STUDENTS[name],
        )  # fmt: skip
        return measured(student, self.teacher.module(self.epochs), self.x_test, self.y_test)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    sizes = {"train": 10_000, "test": 10_000, "epochs": 20, "width": 16, "student": 16}
    for name, default in {**sizes, "seeds": 3, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    settings = {name: getattr(given, name) for name in sizes}
    table: dict[str, list[dict[str, float]]] = {name: [] for name in ("teacher", *STUDENTS)}
    for seed in range(given.seeds):
        data = noisy_data.cifar10(noisy_data.folder(), 0.0, seed, n_train=given.train, n_val=0)
        trial = Trial(
            folder=given.out / f"seed-{seed}", seed=seed, epochs=given.epochs, width=given.width, student=given.student,
            data=data, x_test=data.x_test[: given.test], y_test=data.y_test[: given.test],
        )  # fmt: skip
        for name in table:
            train = trial.teach if name == "teacher" else functools.partial(trial.learn, name)
            table[name].append(filled(trial.folder / f"{name}.json", settings, train))
            print(f"seed {seed} {name}: {100 * table[name][-1]['accuracy']:.1f} %", flush=True)
    print("| trained | accuracy [%] | agrees with the teacher [%] |\n| --- | --- | --- |")
    for name, figures in table.items():
        print(row(name, figures))


if __name__ == "__main__":
    main()
