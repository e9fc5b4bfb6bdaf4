"""LIMIT on the samples of a task, kept as a run: both networks, the history, and a score of every label."""

import copy
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import errors, store
from infotorch.data import Samples, check_same_classes, samples_of
from infotorch.measures import LabelInfoMeter
from infotorch.measures.digest import digest_of_model
from infotorch.pipeline.beside import scores_beside
from infotorch.pipeline.keeping import keep_samples, with_classes
from infotorch.pipeline.label_noise import Noise, noise_of
from infotorch.pipeline.limit_notes import notes_of
from infotorch.pipeline.provenance import data_facts, environment, outputs_digest, task_facts
from infotorch.table import Column, Scores
from infotorch.task import Task
from infotorch.task.classes import predicted_classes
from infotorch.train import LimitResult, LimitTrainer, rng
from infotorch.train.evaluation import evaluating, outputs
from infotorch.train.options import LimitOptions, check_apart
from infotorch.train.plain import PlainResult, train_plain

__all__ = ["train_limit"]

WHERE = "train limit"
LOSSES = ("cross_entropy", "binary_cross_entropy")


def train_limit(
    task: Task,
    data: Any,
    *,
    aux: nn.Module | Task,
    out: str | Path,
    noise: str | Tensor | np.ndarray | None = None,
    val_fraction: float = 0.1,
    batch_size: int = 128,
    test_data: Any = None,
    beside: str | Path | None = None,
    compare: bool = False,
    shard_size: int = 65_536,
    progress: bool | None = None,
    command: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    **options: Any,
) -> store.Run:
    """Trains the task's model by LIMIT (arXiv 2002.07933, section 3) and scores the labels of its training samples.

    The run at ``out`` holds a row for each sample that was trained on: ``limit_ema``, ``limit_distance``,
    ``limit_xent`` and ``limit_margin`` of the label it was given, and ``suggested_label``, the classifier's prediction;
    beside these ``checkpoints/best.pt`` and ``last.pt``, each a dict of the state dicts ``classifier`` and ``aux``, and
    what the report draws. The same command on the same folder goes on after the last whole epoch; a finished run is
    read.

    Args:
        task: Model, and ``"cross_entropy"`` or ``"binary_cross_entropy"``. The parameters selected are trained, in a
            copy of the model.
        data: Whatever ``infotorch.data.samples_of`` takes, with class labels.
        aux: The auxiliary network, with the model's inputs and outputs and other parameters; it is left as it is. A
            task, where it has a ``forward`` of its own.
        out: Folder of the run: new, empty, or begun by this very command.
        noise: Labels to train on in place of the data's, which then count as the right ones: a model and its rate
            (``"uniform:0.4"``, ``"pair:0.3"``, ``"symmetric_inclusive:0.4"``, ``"cifar10_asym:0.4"``), ``"file:PATH"``
            of an .npy array or a text of one label a line, or the labels, [N]. ``None``: the data's, of which nobody
            says which are right.
        val_fraction: Share of the samples, drawn by the seed, that is not trained on: the best epoch is that of the
            highest accuracy on their labels. 0: train on all, take the last epoch.
        batch_size: Samples in one step; a few more where else one sample would be left over, which BatchNorm refuses.
        test_data: Samples with right labels, for the history alone.
        beside: A run of the same samples whose scores are to stand beside these, joined by the samples' ids.
        compare: Train the model by plain cross-entropy too, from the same weights in the same batches.
        shard_size: Samples of one file of the run.
        progress: As of ``LimitTrainer.fit``.
        command: What else the run follows from, for its manifest.
        notes: What the report shows besides, by name.
        **options: Of ``LimitTrainer``: ``q``, ``beta``, ``lam``, ``lr``, ``warm_up``, ``epochs``, ``reduction``,
            ``amp``, ``grad_accum``, ``clip_norm``, ``seed``, ``patience``.

    Returns:
        The finished run.

    Raises:
        ConfigError: An unknown option, one out of range, another loss, or networks that share a parameter.
        DataError: No class labels, noisy labels of another length, test data whose classes have other names, no sample
            left to train on, or a sample that the run ``beside`` doesn't have.
        DivergenceError: Loss or gradients are not finite; the last whole epoch is kept.
        StoreError: ``out`` can't be written or holds something else; what is there stays resumable.
    """
    settings = _settings(options, val_fraction)
    other = aux if isinstance(aux, Task) else dataclasses.replace(task, model=aux, params=None)
    check_apart(WHERE, task.model, other.model)
    task, other = _copied(task), _copied(other)
    if task.loss not in LOSSES:
        raise errors.ConfigError(
            f"{WHERE}: the task's loss must be {' or '.join(LOSSES)}; got {task.loss!r}. LIMIT trains classifiers."
        )
    if not 0 <= val_fraction < 1:
        raise errors.ConfigError(
            f"{WHERE}: val_fraction must be at least 0 and below 1; got {val_fraction}. Correct val_fraction."
        )
    if batch_size < 1:
        raise errors.ConfigError(f"{WHERE}: batch_size must be at least 1; got {batch_size}. Correct batch_size.")
    samples = with_classes(task, samples_of(data))
    probed = outputs_digest(task, samples)
    _check_outputs(task, other, samples)
    splits = _Splits.of(task, samples, noise, val_fraction, settings.seed)
    test = None if test_data is None else with_classes(task, samples_of(test_data))
    if test is not None:
        check_same_classes(WHERE, samples, test)
    others = None if beside is None else scores_beside(WHERE, beside, splits.train)
    with store.create(
        out,
        command={
            **(command or {}),
            "train_limit": {
                "options": settings.config(),
                "noise": splits.noise.facts(),
                "val_fraction": val_fraction,
                "batch_size": batch_size,
                "compare": compare,
                "test": None if test is None else data_facts(test),
                "beside": None if others is None else {"columns": list(others.columns), "main": others.main},
                "task": task_facts(task),
                "aux": task_facts(other),
            },
        },
        num_rows=len(splits.train),
        shard_size=shard_size,
        data=data_facts(samples),
        provenance={
            "parameters": digest_of_model(task.model),
            "aux": digest_of_model(other.model),
            "outputs": probed,
            **environment(task),
        },
    ) as run:
        if not run.finished:
            keep_samples(run, splits.train, None)
            training = _Training(task, other, splits, test, settings, batch_size)
            result = training.fit(run.training_file, progress)
            plain = training.plain(progress) if compare else None
            scores = training.scores(result)
            for name, state in (("best", result.best_state), ("last", result.last_state)):
                run.attach(name, _bytes({"classifier": task, "aux": other}, state or result.last_state))
            given, flipped = splits.train.y.numpy(), splits.flipped
            found = notes_of(
                settings, splits.noise, given, splits.num_classes, splits.held, test, scores, flipped, result, plain
            )
            for name, payload in (found | dict(notes or {})).items():
                run.note(name, payload)
            whole = scores if others is None else scores.join(others)
            done = run.done()
            for start, stop in run.ranges():
                if (start, stop) not in done:
                    run.append(start, whole.rows(start, stop))
        run.finish()
        run.training_file.unlink(missing_ok=True)
    return store.open(out)


def _settings(options: Mapping[str, Any], val_fraction: float) -> LimitOptions:
    names = [field.name for field in dataclasses.fields(LimitOptions) if field.name not in ("scores", "select")]
    for name in options:
        errors.check_choice(WHERE, "option", name, names)
    settings = LimitOptions(scores="ema", select="val_noisy" if val_fraction else "last", **options)
    if settings.warm_up >= settings.epochs:
        raise errors.ConfigError(
            f"{WHERE}: warm_up must be below epochs; got {settings.warm_up} of {settings.epochs}, in which the "
            "classifier never moves. Lower warm_up."
        )
    return settings


@dataclass(frozen=True, kw_only=True)
class _Splits:
    """What is trained on and what is held out, both with the labels they are given."""

    train: Samples
    held: Samples | None
    noise: Noise
    truth: Tensor | None
    """Right labels of the training samples; ``None`` where nobody knows."""
    num_classes: int

    @property
    def flipped(self) -> np.ndarray | None:
        """Which training labels are wrong, bool [N]."""
        return None if self.truth is None else (self.train.y != self.truth).numpy()

    @classmethod
    def of(cls, task: Task, samples: Samples, noise: Any, val_fraction: float, seed: int) -> "_Splits":
        y, N = samples.y, len(samples)
        if y.dim() != 1 or y.is_floating_point():
            raise errors.DataError(
                f"{WHERE}: labels must be classes, int64 [{N}]; got {y.dtype} {list(y.shape)}. "
                "Give each sample the number of its class."
            )
        with torch.no_grad():
            C = max(2, task.outputs(samples.x[:1]).shape[-1])
        _check_range(y, C, samples.ids)
        model = noise_of(WHERE, noise, y, C)
        given = model.labels(y, seed)
        _check_range(given, C, samples.ids)
        metadata = dict(samples.metadata)
        if noise is not None:
            for name, values in (("true_label", y.numpy()), ("flipped", (given != y).numpy())):
                if name in metadata:
                    raise errors.DataError(
                        f"{WHERE}: a sample's own columns must leave {name} to the noise; got one of that name. "
                        "Rename it, or leave noise out."
                    )
                metadata[name] = _named(values, samples.label_names) if name == "true_label" else values
        samples = dataclasses.replace(samples, y=given, metadata=metadata)
        order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
        num_held = round(val_fraction * N)
        if num_held == N or (val_fraction > 0 and num_held == 0):
            raise errors.DataError(
                f"{WHERE}: val_fraction must leave samples to train on and to validate with; got {val_fraction} of "
                f"{N}. Change val_fraction; 0 validates with none."
            )
        held, train = order[:num_held].sort().values, order[num_held:].sort().values
        return cls(
            train=select(samples, train),
            held=select(samples, held) if num_held else None,
            noise=model,
            truth=None if noise is None else y[train],
            num_classes=C,
        )


def select(samples: Samples, rows: Tensor) -> Samples:
    """Some of the samples."""
    places = rows.tolist()
    return Samples(
        x=samples.x[rows],
        y=samples.y[rows],
        ids=tuple(samples.ids[i] for i in places),
        label_names=samples.label_names,
        images=None if samples.images is None else samples.images[places],
        texts=None if samples.texts is None else tuple(samples.texts[i] for i in places),
        metadata={name: values[places] for name, values in samples.metadata.items()},
    )


class _Training:
    """One training of both networks, in place."""

    def __init__(
        self, task: Task, aux: Task, splits: _Splits, test: Samples | None, settings: LimitOptions, batch_size: int
    ) -> None:
        self.splits, self.test, self.settings, self.batch_size = splits, test, settings, batch_size
        self.classifier, self.aux = _called(task), _called(aux)
        self.start = copy.deepcopy(self.classifier)

    def fit(self, checkpoint: Path, progress: bool | None) -> LimitResult:
        """LIMIT to the last epoch, from the checkpoint where there is one."""
        meter: bool | LabelInfoMeter = True
        if self.splits.noise.entropy is not None:
            meter = LabelInfoMeter(
                self.splits.num_classes, len(self.splits.train), q=self.settings.q, lam=self.settings.lam,
                label_entropy=self.splits.noise.entropy,
            )  # fmt: skip
        with rng.seeded(self.settings.seed):  # random layers draw by it
            trainer = LimitTrainer(self.classifier, self.aux, meter=meter, **self.settings.config())
            if checkpoint.exists():
                trainer.load(checkpoint)
            return trainer.fit(
                self._shuffled(), num_classes=self.splits.num_classes, checkpoint=checkpoint, progress=progress,
                **self._measured(),
            )  # fmt: skip

    def plain(self, progress: bool | None) -> PlainResult:
        """The same model by plain cross-entropy, from the same weights in the same batches."""
        with rng.seeded(self.settings.seed):  # random layers draw by it
            return train_plain(
                copy.deepcopy(self.start), self._shuffled(), epochs=self.settings.epochs, lr=self.settings.lr,
                clip_norm=self.settings.clip_norm, progress=progress, **self._measured(),
            )  # fmt: skip

    def scores(self, result: LimitResult) -> Scores:
        """The label scores, and the label that the classifier gives each training sample."""
        assert result.scores is not None
        found = []
        with evaluating(self.classifier):
            for batch, (logits,) in outputs(WHERE, self._in_order(self.splits.train), self.classifier):
                found.append(predicted_classes(logits, batch.labels))
        values = torch.cat(found).cpu().numpy()
        suggested = Column(values=values, unit="1", source="the classifier's prediction", kind="heuristic")
        columns = {**result.scores.columns, "suggested_label": suggested}
        return Scores(index=result.scores.index, columns=columns, main=result.scores.main)

    def _measured(self) -> dict[str, Any]:
        """What both trainings are measured on."""
        held, test = self.splits.held, self.test
        return {
            "val_loader": None if held is None else self._in_order(held),
            "test_loader": None if test is None else self._in_order(test),
            "eval_loader": self._in_order(self.splits.train),
            "true_labels": self.splits.truth,
        }

    def _shuffled(self) -> DataLoader:
        N, B = len(self.splits.train), self.batch_size
        while N > B > 1 and N % B == 1:  # a single sample left over has no variance for BatchNorm
            B += 1
        generator = torch.Generator().manual_seed(self.settings.seed)
        return DataLoader(self._data(self.splits.train), B, shuffle=True, generator=generator)

    def _in_order(self, samples: Samples) -> DataLoader:
        return DataLoader(self._data(samples), self.batch_size)

    def _data(self, samples: Samples) -> TensorDataset:
        """Inputs, labels and ids."""
        return TensorDataset(samples.all_inputs("train"), samples.y, torch.arange(len(samples)))


class _Called(nn.Module):
    """A model as the task's own ``forward`` calls it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self._forward = task.model, task.forward

    def forward(self, x: Any) -> Tensor:
        assert self._forward is not None
        return self._forward(self.model, x)


def _called(task: Task) -> nn.Module:
    return task.model if task.forward is None else _Called(task)


def _copied(task: Task) -> Task:
    """The task with a model of its own, of which what isn't selected is frozen."""
    model = copy.deepcopy(task.model).eval()
    chosen = task.parameters()
    for name, p in model.named_parameters():
        p.requires_grad_(name in chosen)
    return dataclasses.replace(task, model=model)


def _check_outputs(task: Task, aux: Task, samples: Samples) -> None:
    with torch.no_grad():
        sizes = [list(each.outputs(samples.x[:1]).shape[1:]) for each in (task, aux)]
    if sizes[0] != sizes[1] or len(sizes[0]) != 1:
        raise errors.ConfigError(
            f"{WHERE}: model and aux must both return one row of logits a sample; got {sizes[0]} and {sizes[1]}. "
            "Give both the same number of outputs."
        )


def _check_range(y: Tensor, C: int, ids: tuple[str, ...]) -> None:
    outside = (y < 0) | (y >= C)
    if outside.any():
        first = int(outside.int().argmax())
        raise errors.DataError(
            f"{WHERE}: labels must lie in 0..{C - 1}, as the model has outputs; got {int(y[first])} for sample {first} "
            f"({ids[first][:40]!r}). Widen the model's last layer, or correct the label."
        )


def _named(labels: np.ndarray, names: tuple[str, ...] | None) -> np.ndarray:
    return labels if names is None else np.array([names[label] for label in labels.tolist()])


def _bytes(tasks: Mapping[str, Task], state: Mapping[str, Any]) -> bytes:
    """The state dicts of both networks, under their own names without that of ``_Called``; a file without code."""
    plain = {}
    for network, weights in state.items():
        inner = 0 if tasks[network].forward is None else len("model.")
        plain[network] = {key[inner:]: value for key, value in weights.items()}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()
