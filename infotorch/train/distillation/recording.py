"""Writes a teacher's checkpoints while it trains."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from infotorch.blocks.weights import check_finite
from infotorch.errors import ConfigError, DataError, NumericsError, StoreError, check_choice, check_whole
from infotorch.store.files import refusals, sync_folder, write_bytes
from infotorch.task.nest import num_samples
from infotorch.train import checkpoint, rng
from infotorch.train.batch import Batch, batch_of
from infotorch.train.distillation.folder import (
    DTYPES,
    FINGERPRINTS,
    LOGITS,
    MANIFEST,
    Kind,
    Manifest,
    fingerprints,
    weights_file,
    write_manifest,
)
from infotorch.train.evaluation import device_of, evaluating
from infotorch.train.ranks import rank, unwrapped
from infotorch.train.state import copied_state

__all__ = ["DIVERGED", "Recording", "logits_of", "weights_in"]

WHERE = "TeacherPath.record"
KINDS = ("weights", "logits")
DIVERGED = "Record a training that has not diverged."
ROWS = 256  # samples of a forward, where the data come as a whole


class Recording:
    """A teacher's path being written, as of ``TeacherPath.record``; ``step`` follows each optimizer step."""

    def __init__(self, model: nn.Module, every: int, folder: Path, *, dtype: str, what: Kind, data: Any) -> None:
        check_choice(WHERE, "what", what, KINDS)
        check_choice(WHERE, "dtype", dtype, DTYPES)
        check_whole(WHERE, "every", every, 1)
        if (what == "logits") is (data is None):
            got, todo = ("none", "Pass data=") if data is None else ("data for weights", "Leave data out")
            raise ConfigError(f"{WHERE}: data go with what='logits'; got {got}. {todo}, the samples of the student.")
        self.model, self.every, self.folder, self.what, self.data = model, every, folder, what, data
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.steps = 0
        """Optimizer steps followed."""
        self._saved: list[int] = []
        self._hashes: list[str] = []
        self._shape: list[int] | None = None
        self._marks: np.ndarray | None = None
        if rank() == 0:
            self._claim()
            self._save()

    def step(self) -> None:
        """An optimizer step was done; saves a checkpoint where ``every`` of them have gone by.

        Raises:
            ConfigError: A number overflows ``dtype``.
            DataError: Samples aren't those of the checkpoint before.
            NumericsError: A weight, or a logit that is to be stored, isn't finite.
            StoreError: The system refuses; the checkpoints before are whole.
        """
        self.steps += 1
        if self.steps % self.every == 0 and rank() == 0:
            self._save()

    def _claim(self) -> None:
        with refusals("store", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            taken = [path.name for path in self.folder.iterdir() if path.name == MANIFEST or path.suffix == ".pt"]
        if taken:
            raise StoreError(
                f"{WHERE}: {self.folder} must be free for a path; got {sorted(taken)[0]}. Choose another folder."
            )

    def _save(self) -> None:
        (self._save_weights if self.what == "weights" else self._save_logits)()
        self._saved.append(self.steps)
        write_manifest(
            self.folder,
            Manifest(
                what=self.what, dtype=str(self.dtype).removeprefix("torch."), every=self.every, steps=self._saved,
                shape=self._shape, sha256=self._hashes or None,
            ),
        )  # fmt: skip

    def _save_weights(self) -> None:
        whole = copied_state(self.model)
        check_finite(WHERE, f"the teacher after {self.steps} steps", weights_in(unwrapped(self.model), whole), DIVERGED)
        state = {
            name: self._narrow(value) if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in whole.items()
        }
        self._hashes.append(checkpoint.write(weights_file(self.folder, self.steps), state))

    def _save_logits(self) -> None:
        logits, marks = self._predicted()
        if self._marks is None:
            self._marks, self._shape = marks, list(logits.shape)
            content = io.BytesIO()
            np.save(content, marks)
            write_bytes(self.folder / FINGERPRINTS, content.getvalue())
        elif len(marks) != len(self._marks) or (marks != self._marks).any():
            raise DataError(
                f"{WHERE}: data must give the same samples at every checkpoint; got others after {self.steps} steps. "
                "Leave augmentation out, or record what='weights'."
            )
        wrong = (logits.isnan() | logits.isposinf()).flatten(1).any(1)  # at -inf a class is ruled out
        if wrong.any():
            n = int(wrong.nonzero()[0])
            raise NumericsError(
                f"{WHERE}: the teacher's logits must be numbers below inf; got others for sample {n} after "
                f"{self.steps} steps. Look at its weights and at the sample."
            )
        block = self._narrow(logits).numpy()
        path = self.folder / LOGITS
        with refusals("store", path), open(path, "r+b" if self._saved else "wb") as file:
            file.seek(len(self._saved) * block.nbytes)  # over what a save that failed has left
            file.write(block.tobytes())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def _predicted(self) -> tuple[Tensor, np.ndarray]:
        """Logits [N, C] and fingerprints [N], by index."""
        ids, logits, marks = [], [], []
        device, model, met = device_of(self.model), unwrapped(self.model), 0
        with evaluating(model), rng.unchanged(self.data):
            for batch in batches_of(self.data):
                ids.append(torch.arange(met, met + len(batch)) if batch.ids is None else batch.ids)
                marks.append(fingerprints(batch.inputs))
                logits.append(logits_of(WHERE, "model", model, batch.to(device).inputs).cpu())
                met += len(batch)
        if not ids:
            raise DataError(f"{WHERE}: data must hold at least one sample; got none. Check the filter or the path.")
        places = torch.cat(ids)
        order = places.argsort()
        if not torch.equal(places[order], torch.arange(met)):
            raise DataError(
                f"{WHERE}: indices of the samples must be 0..{met - 1}, each once; got {int(places.min())}.."
                f"{int(places.max())}. Number the samples by their place in the data set."
            )
        return torch.cat(logits)[order], np.concatenate(marks)[order.numpy()]

    def _narrow(self, value: Tensor) -> Tensor:
        narrow = value.to(self.dtype)
        if not bool(narrow.isfinite().all()) and bool(value.isfinite().all()):
            raise ConfigError(
                f"{WHERE}: dtype must hold the numbers; got {value.abs().max().item():.4g} for {self.dtype}. "
                "Pass dtype='float32'."
            )
        return narrow


def weights_in(model: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a state dict; buffers, such as masks, may be infinite."""
    return {name: state[name] for name, _ in model.named_parameters() if name in state}


def logits_of(where: str, name: str, model: nn.Module, inputs: Any) -> Tensor:
    """What the model returns, which must be logits."""
    logits = model(inputs)
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f"{where}: {name} must return its logits, a tensor; got {type(logits).__name__}. "
            "Wrap it in a module that returns them."
        )
    return logits


def batches_of(data: Any) -> Iterator[Batch]:
    """Inputs [N, ...] or a pair (inputs, labels) in parts; or the batches of a loader, as they are."""
    whole = isinstance(data, (tuple, list)) and len(data) in (2, 3) and isinstance(data[1], Tensor)
    if isinstance(data, Tensor) or whole or isinstance(data, Mapping):
        N = num_samples(data) if isinstance(data, Tensor) else 0
        batch = batch_of(WHERE, (data, torch.zeros(N)) if isinstance(data, Tensor) else data)
        for start in range(0, len(batch), ROWS):
            yield batch.rows(slice(start, start + ROWS))
        return
    if not isinstance(data, Iterable):
        raise DataError(f"{WHERE}: data must be inputs or batches; got {type(data).__name__}. Pass (x, y) or a loader.")
    shuffled = isinstance(getattr(data, "sampler", None), RandomSampler)
    for item in data:
        batch = batch_of(WHERE, item)
        if shuffled and batch.ids is None:
            raise DataError(
                f"{WHERE}: a loader that shuffles must yield (inputs, labels, ids); got batches without ids. "
                "Pass shuffle=False, or let the data set return its index."
            )
        yield batch
