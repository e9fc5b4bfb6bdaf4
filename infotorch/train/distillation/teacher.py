"""A teacher as it was along its own training."""

import copy
import hashlib
import io
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from infotorch.blocks.weights import check_finite
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.measures.digest import digest_of_model
from infotorch.store.files import file_hash, read_bytes, refusals
from infotorch.train import checkpoint
from infotorch.train.batch import Batch
from infotorch.train.distillation.folder import (
    FINGERPRINTS,
    LOGITS,
    MANIFEST,
    Manifest,
    fingerprints,
    read_manifest,
    steps_in,
    weights_file,
)
from infotorch.train.distillation.recording import DIVERGED, Recording, logits_of, weights_in
from infotorch.train.evaluation import device_of, evaluating
from infotorch.train.ranks import unwrapped

__all__ = ["TeacherPath"]

WHERE = "TeacherPath"


class TeacherPath:
    """A teacher's checkpoints T_0, T_1, ... from its first step to its last, for ``distill``.

    Args:
        source: Modules, one a checkpoint; or a folder that ``record`` wrote, or that holds state dicts
            ``step-00000000.pt``, ``step-00000100.pt``, ..., at equal distances from 0.
        model: A module of the teacher's kind, of which a copy takes each checkpoint's weights; itself it stays as it
            is. Needed for a folder of weights, not for one of logits.

    Raises:
        ConfigError: ``source`` is empty or no such thing, or ``model`` is missing.
        StoreError: A checkpoint is missing, out of order, broken, or of another network.

    Example:
        >>> path = TeacherPath([nn.Linear(4, 3), nn.Linear(4, 3)])
        >>> len(path)
        2
    """

    def __init__(self, source: Sequence[nn.Module] | str | PathLike[str], *, model: nn.Module | None = None) -> None:
        self.modules: list[nn.Module] | None = None
        """The checkpoints, where they were given as modules."""
        self.folder: Path | None = None
        """Where they are, where they were given as files."""
        self.steps: list[int] | None = None
        """The teacher's optimizer steps before each checkpoint, where they are files."""
        self._model: nn.Module | None = None
        self._loaded: int | None = None
        self._hashes: dict[int, str] = {}
        self._logits: np.ndarray | None = None
        if isinstance(source, (str, PathLike)):
            self.folder = Path(source)
            self._open(self.folder, model)
        else:
            self._take(source)

    @staticmethod
    def record(
        model: nn.Module,
        every: int,
        dir: str | PathLike[str],
        *,
        dtype: str,
        what: Literal["weights", "logits"] = "weights",
        data: Any = None,
    ) -> Recording:
        """Writes a path while the teacher trains: T_0 at once, and one more after each ``every`` calls of ``.step()``.

        Files are whole or absent. ``"weights"`` writes a state dict a checkpoint, ``step-%08d.pt``. ``"logits"``
        writes the predictions on ``data``, in eval mode, as [checkpoints, N, C] in one file that is mapped into memory,
        so that the student's training runs no teacher; it then needs each sample's index, and refuses augmentation:
        the inputs are recognised by their bytes. With several processes the first one writes.

        Args:
            model: The teacher.
            every: Optimizer steps between checkpoints. For the last step to be one, it divides their number.
            dir: A folder without a path.
            dtype: ``"float16"``, ``"float32"`` or ``"float64"`` of what is stored.
            what: As above.
            data: For logits: inputs [N, ...], (inputs, labels), or batches as of ``distill``: in the data set's order,
                or with ids.

        Returns:
            Whose ``.step()`` follows each optimizer step.

        Raises:
            ConfigError: An option is unknown or out of range, ``data`` are missing, or a number overflows ``dtype``.
            DataError: There is no sample, or indices aren't 0..N-1.
            NumericsError: A weight, or a logit that is to be stored, isn't finite.
            StoreError: ``dir`` has a path, or the system refuses.
        """
        name = str(dtype).removeprefix("torch.")
        return Recording(model, every, Path(dir), dtype=name, what=what, data=data)

    def __len__(self) -> int:
        """How many checkpoints there are."""
        return len(self.modules if self.modules is not None else self.steps or [])

    @property
    def stored(self) -> bool:
        """Whether the checkpoints are logits, and no network."""
        return self._logits is not None

    def digest(self) -> str:
        """SHA-256 of the checkpoints: of the folder's files, or of the modules, their code and numbers."""
        if self.modules is not None:
            parts = [digest_of_model(unwrapped(module)) for module in self.modules]
        else:
            assert self.folder is not None and self.steps is not None
            weights = [weights_file(self.folder, step) for step in self.steps]
            files = [self.folder / LOGITS, self.folder / FINGERPRINTS] if self.stored else weights
            manifest = self.folder / MANIFEST
            parts = [file_hash(WHERE, path) for path in [*([manifest] if manifest.exists() else []), *files]]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def logits(self, j: int, indices: Tensor | Sequence[int]) -> Tensor:
        """Stored logits of checkpoint ``j``, of the stored dtype, [n, C].

        Args:
            j: From 0 to len - 1.
            indices: Places in the data that were recorded, int64 [n].

        Raises:
            ConfigError: There is no such checkpoint, or the path holds no logits.
            DataError: An index is out of range.
        """
        if self._logits is None:
            raise ConfigError(f"{WHERE}.logits: the path must hold logits; got weights. Record it with what='logits'.")
        self._check(j)
        places, N = torch.as_tensor(indices, dtype=torch.int64).cpu(), self._logits.shape[1]
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < N:
            raise DataError(
                f"{WHERE}.logits: indices must lie in 0..{N - 1}; got {int(places.min())}..{int(places.max())}. "
                "Number the samples as they were recorded."
            )
        return torch.from_numpy(self._logits[j, places.numpy()])

    def module(self, j: int, device: torch.device | None = None) -> nn.Module:
        """The teacher at checkpoint ``j``. Of a folder, it is one module, whose weights the next call replaces.

        Raises:
            ConfigError: There is no such checkpoint, or the path holds logits; or the module is on another device.
            NumericsError: A weight in the file isn't finite.
            StoreError: The file is missing, broken, another than was recorded, or of another network.
        """
        self._check(j)
        if self.modules is not None:
            found = self.modules[j]
            if device is not None and device_of(found) != device and any(True for _ in found.parameters()):
                raise ConfigError(
                    f"{WHERE}: teacher and student must be on one device; got {device_of(found)} and {device}. "
                    "Move one with .to(device)."
                )
            return found
        if self._model is None:
            raise ConfigError(f"{WHERE}.module: the path must hold weights; got logits. Record it with what='weights'.")
        if self._loaded != j:
            self._loaded = None
            state = self._state(j)
            check_finite(WHERE, f"checkpoint {j}", weights_in(self._model, state), DIVERGED)
            self._model.load_state_dict(state)
            self._loaded = j
        return self._model if device is None else self._model.to(device)

    def predicted(self, where: str, j: int, batch: Batch, device: torch.device) -> Tensor:
        """Logits of checkpoint ``j`` on a batch, without gradients; a module's mode is put back.

        Raises:
            DataError: Logits are stored, and the batch has no ids or other inputs.
        """
        if self.stored:
            return self.recorded(where, j, batch.inputs, batch.ids).to(device)
        teacher = self.module(j, device)
        with evaluating(teacher):
            return logits_of(where, "teacher", teacher, batch.to(device).inputs)

    def recorded(self, where: str, j: int, inputs: Any, ids: Tensor | None) -> Tensor:
        """Stored logits of checkpoint ``j`` on samples that are known to be those that were recorded, on the CPU.

        Raises:
            DataError: There are no ids, or the inputs are others.
        """
        if ids is None:
            raise DataError(
                f"{where}: stored logits need the samples' indices; got a batch without. Let the loader yield "
                "(inputs, labels, ids)."
            )
        logits, ids = self.logits(j, ids), ids.cpu()
        other = fingerprints(inputs) != self._marks[ids.numpy()]
        if other.any():
            raise DataError(
                f"{where}: inputs must be those that the teacher's logits were recorded of; got another sample "
                f"{int(ids[int(other.argmax())])}. Leave data augmentation out, or record what='weights'."
            )
        return logits

    def _take(self, source: Sequence[nn.Module]) -> None:
        modules = list(source) if isinstance(source, Sequence) else []
        wrong = next((entry for entry in modules if not isinstance(entry, nn.Module)), None)
        if not modules or wrong is not None:
            got = type(source if wrong is None else wrong).__name__ if modules or source else "none"
            raise ConfigError(f"{WHERE}: source must be modules, at least one, or a folder; got {got}. Pass a list.")
        self.modules = modules

    def _open(self, folder: Path, model: nn.Module | None) -> None:
        if not folder.is_dir():
            raise StoreError(f"{WHERE}: {folder} must be a folder of checkpoints; got none. Record a path there.")
        manifest = read_manifest(WHERE, folder)
        if manifest is not None and manifest.what == "logits":
            self._map(folder, manifest)
            return
        self.steps = steps_in(WHERE, folder, manifest)
        if model is None:
            raise ConfigError(f"{WHERE}: a folder of weights needs a module for them; got none. Pass model=.")
        self._model = copy.deepcopy(model)
        if manifest is not None and manifest.sha256 is not None:
            self._hashes = dict(zip(manifest.steps, manifest.sha256, strict=True))
        for j in range(len(self.steps)):
            checkpoint.check_tensors("model", self._state(j, shapes=True), self._model.state_dict(), where=WHERE)

    def _map(self, folder: Path, manifest: Manifest) -> None:
        assert manifest.shape is not None  # written with every manifest of logits
        self.steps, path = manifest.steps, folder / LOGITS
        shape, dtype = (len(manifest.steps), *manifest.shape), np.dtype(manifest.dtype)
        size, wanted = path.stat().st_size if path.exists() else 0, int(np.prod(shape)) * dtype.itemsize
        if size < wanted:
            raise StoreError(f"{WHERE}: {path} must have {wanted} bytes; got {size}. Restore it, or record again.")
        with refusals("open", path):
            self._logits = np.memmap(path, dtype=dtype, mode="r", shape=shape)
        path, N = folder / FINGERPRINTS, manifest.shape[0]
        try:
            self._marks = np.load(io.BytesIO(read_bytes("open", path)), allow_pickle=False)
            got = f"{self._marks.dtype} {list(self._marks.shape)}"
        except (ValueError, EOFError) as error:
            got = repr(str(error)[:80])
        if got != f"uint64 [{N}]":
            raise StoreError(f"{WHERE}: {path} must be uint64 [{N}]; got {got}. Restore it, or record again.")

    def _state(self, j: int, *, shapes: bool = False) -> dict[str, Any]:
        assert self.folder is not None and self.steps is not None
        path = weights_file(self.folder, self.steps[j])
        recorded = self._hashes.get(self.steps[j])
        if not shapes and recorded is not None and file_hash(WHERE, path) != recorded:
            raise StoreError(
                f"{WHERE}: {path} must be as it was recorded; got another file. Restore it, or record the path again."
            )
        state = checkpoint.load(WHERE, path, "a checkpoint of a teacher, a state dict", shapes=shapes)
        if not isinstance(state, dict):
            raise StoreError(
                f"{WHERE}: {path} must be a state dict; got {type(state).__name__}. Save model.state_dict() there."
            )
        return state

    def _check(self, j: int) -> None:
        if not 0 <= j < len(self):
            raise ConfigError(f"{WHERE}: a checkpoint must lie in 0..{len(self) - 1}; got {j}. Count from 0.")
