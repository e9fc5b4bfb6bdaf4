"""What else is known of digits that were scored, chapter by chapter: each a run of the same samples, or a note."""

import copy
import dataclasses
import pathlib
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import bounds
from infotorch.data import Samples
from infotorch.demo import limit as limit_demo
from infotorch.demo.digits import NUM_CLASSES
from infotorch.demo.single import one_thread
from infotorch.measures import Progress, ntk_similarity
from infotorch.pipeline import keep_bounds, train_limit, weigh
from infotorch.store import Run
from infotorch.task import Task
from infotorch.train import SupervisionTrace, TeacherPath, distill
from infotorch.train.distillation.result import Moment
from infotorch.train.evaluation import evaluating
from infotorch.train.options import default_optimizer

__all__ = ["bounded", "supervised", "trained_by_limit", "weighed"]

BATCH, LR = 64, 3e-3
K1, K2, BOUND_EPOCHS = 2, 20, 80
WEIGHED_EPOCHS, NUM_SEEN = 30, 200
TEACHER_EPOCHS, EVERY, NUM_HELD_OUT, RIDGE = 30, 3, 256, 1.0


def trained_by_limit(out: pathlib.Path, samples: Samples, true: Tensor, seed: int) -> Run:
    """LIMIT on the given labels, beside plain cross-entropy; both told afterwards which labels are right."""
    with one_thread():
        torch.manual_seed(seed)
        classifier, aux = limit_demo.network(), limit_demo.network()
        return train_limit(
            Task(classifier), dataclasses.replace(samples, y=true, metadata={}), aux=aux, out=out, noise=samples.y,
            q="laplace", beta=10.0, epochs=limit_demo.EPOCHS, batch_size=BATCH, seed=seed, val_fraction=0.0,
            compare=True, progress=False,
        )  # fmt: skip


def bounded(out: pathlib.Path, samples: Samples, hidden: int, seed: int, progress: Progress | None) -> Run:
    """f-CMI of networks with so many hidden units on halves of the samples; each but an odd one is in a pair."""
    x, y = samples.all_inputs("demo"), samples.y
    ensemble = bounds.mlp_ensemble(
        x, y, hidden=hidden, num_classes=NUM_CLASSES, optimizer="adam", lr=LR, batch_size=BATCH,
        epochs=BOUND_EPOCHS,
    )  # fmt: skip
    what = bounds.Experiment(
        labels=y, ensemble=ensemble, num_classes=NUM_CLASSES, items=x, images=samples.images, ids=samples.ids,
        label_names=samples.label_names,
    )  # fmt: skip

    def told(stage: str, done: int, total: int, note: str) -> None:
        if progress is not None:
            progress(stage, done, total)

    grid = bounds.run(
        bounds.plan(len(y), len(y) // 2, K1, K2, seed=seed), None, out.with_name(f"{out.name}-runs"), labels=y,
        ensemble=ensemble, num_classes=NUM_CLASSES, items=x, workers=1, progress=told,
    )  # fmt: skip
    return keep_bounds([grid], out, experiment=what, bounds=("fcmi", "ecmi", "kl"))


def weighed(out: pathlib.Path, samples: Samples, network: nn.Module, seed: int, progress: Progress | None) -> Run:
    """Information in the weights and activations of a copy of the network, trained on the samples by Adam."""
    x, y = samples.all_inputs("demo"), samples.y
    model = copy.deepcopy(network)
    with one_thread():
        torch.manual_seed(seed)
        optimizer = default_optimizer(model, LR)
        for _ in range(WEIGHED_EPOCHS):
            for rows in torch.randperm(len(y)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
        pixels = F.pad(x[:NUM_SEEN].view(-1, 8, 8), (1, 1))
        tangents = {
            "shift": ((pixels[..., :-2] - pixels[..., 2:]) / 2).flatten(1),
            "brightness": torch.ones_like(x[:NUM_SEEN]),
        }
        seen = {"layers": ["0", "1", "2"], "tau": 0.1, "num_samples": NUM_SEEN, "tangents": tangents}
        return weigh(
            Task(model.eval(), loss="cross_entropy"), samples, out=out, estimator="kfac", prior_var="evidence",
            activations=seen, seed=seed, progress=progress,
        )  # fmt: skip


def supervised(samples: Samples, true: Tensor, seed: int, progress: Progress | None) -> dict[str, Any]:
    """The note "supervision": a student of 16 units taught by the checkpoints of a teacher of 256.

    The given labels, right ones, and the teacher's predictions are looked at on digits that neither was trained on.
    """
    x, y = samples.all_inputs("demo"), samples.y
    held = min(NUM_HELD_OUT, len(y) // 4)
    x_held, kept = x[:held], slice(held, None)
    with one_thread():
        torch.manual_seed(seed)
        teacher, student = _of(256), _of(16)
        loader = DataLoader(
            TensorDataset(x[kept], y[kept]), BATCH, shuffle=True, generator=torch.Generator().manual_seed(seed)
        )
        optimizer = default_optimizer(teacher, LR)
        path = [copy.deepcopy(teacher)]
        for epoch in range(TEACHER_EPOCHS):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(teacher(inputs), labels).backward()
                optimizer.step()
            if (epoch + 1) % EVERY == 0:
                path.append(copy.deepcopy(teacher))
        last = path[-1].eval()
        targets: dict[str, Tensor | Literal["teacher"]] = {
            "labels, some wrong": F.one_hot(y[:held], NUM_CLASSES).double(),
            "right labels": F.one_hot(true[:held], NUM_CLASSES).double(),
            "teacher’s end": _probabilities(last, x_held),
            "teacher’s way": "teacher",
        }
        steps, every = TEACHER_EPOCHS * len(loader), EVERY * len(loader)
        trace = SupervisionTrace(x_held, targets, every=every, ridge=RIDGE, f0="student")
        alike = _Alike(x_held, last, every, progress)
        distill(student, loader, default_optimizer(student, LR), teacher=TeacherPath(path), steps=steps,
                callbacks=[trace, alike])  # fmt: skip
    return {"complexity": trace.rows, "similarity": alike.similarity, "fidelity": alike.fidelity}


def _of(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, NUM_CLASSES))


def _probabilities(network: nn.Module, x: Tensor) -> Tensor:
    with evaluating(network):
        return network(x).double().softmax(1)


class _Alike:
    """A callback of ``distill``: how alike student and teacher are, at its end and as it was at the same time."""

    def __init__(self, x: Tensor, last: nn.Module, every: int, progress: Progress | None) -> None:
        self.x, self.last, self.every, self.progress = x, last, every, progress
        self.similarity: list[dict[str, Any]] = []
        self.fidelity: list[dict[str, Any]] = []

    def __call__(self, moment: Moment) -> None:
        if moment.step % self.every:
            return
        with evaluating(moment.student):
            predicted = moment.student(self.x).argmax(1)
            same = float((predicted == self.last(self.x).argmax(1)).double().mean())
            then = float((predicted == moment.teacher(self.x).argmax(1)).double().mean())
        student = Task(copy.deepcopy(moment.student).eval())
        alike = ntk_similarity(student, Task(self.last), self.x)
        self.similarity.append({"step": moment.step, "line": "teacher’s end", "similarity": alike})
        self.fidelity += [
            {"step": moment.step, "line": "teacher’s end", "fidelity": same},
            {"step": moment.step, "line": "teacher’s way", "fidelity": then},
        ]
        if self.progress is not None:
            self.progress("distilling", moment.step, moment.options.steps)
