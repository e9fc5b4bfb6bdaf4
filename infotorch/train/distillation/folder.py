"""The folder of a teacher's path: which checkpoints it has, whole, all of them, and in order."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from infotorch.errors import StoreError
from infotorch.store.files import read_bytes, write_bytes
from infotorch.task.nest import num_samples, tensors_of

__all__ = [
    "DTYPES",
    "FINGERPRINTS",
    "LOGITS",
    "MANIFEST",
    "NAME",
    "Kind",
    "Manifest",
    "fingerprints",
    "read_manifest",
    "steps_in",
    "weights_file",
    "write_manifest",
]

DTYPES = ("float16", "float32", "float64")
Kind = Literal["weights", "logits"]
FORMAT = "infotorch TeacherPath 1"
MANIFEST, LOGITS, FINGERPRINTS = "path.json", "logits.bin", "inputs.npy"
NAME = re.compile(r"step-(\d{8,})\.pt")
"""Of a file of weights, with its step."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder holds; written last, so that nothing is in it that isn't on the disk."""

    what: Kind
    """Kind of the checkpoints."""
    dtype: str
    """Of what is stored."""
    every: int
    """Optimizer steps between two checkpoints."""
    steps: list[int]
    """The teacher's optimizer steps before each checkpoint: 0, every, 2 every, ..."""
    shape: list[int] | None
    """[N, C] of each checkpoint's logits; ``None`` for weights."""
    sha256: list[str] | None = None
    """Of each file of weights; ``None`` for logits."""


def weights_file(folder: Path, step: int) -> Path:
    """Where the weights after ``step`` optimizer steps are."""
    return folder / f"step-{step:08d}.pt"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes it whole, or leaves the one before."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n"
    write_bytes(folder / MANIFEST, text.encode())


def read_manifest(where: str, folder: Path) -> Manifest | None:
    """The folder's manifest; ``None`` where somebody else wrote its checkpoints.

    Raises:
        StoreError: It isn't one, or its steps are no path.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        fields: dict[str, Any] = json.loads(read_bytes(where, path))
        found = fields.pop("format", None)
        manifest = Manifest(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{where}: {path} must be a manifest of TeacherPath; got {str(error)[:80]!r}. Record the path again."
        ) from error
    if found != FORMAT:
        raise StoreError(f"{where}: {path} must be of {FORMAT!r}; got {found!r}. Record the path again.")
    _check_fields(where, path, manifest)
    check_steps(where, folder, manifest.steps, manifest.every)
    return manifest


def _check_fields(where: str, path: Path, manifest: Manifest) -> None:
    """Raises where a field is none of its kind: ``StoreError``."""
    logits = manifest.what == "logits"
    for name, fits, must in (
        ("what", manifest.what in get_args(Kind), "'weights' or 'logits'"),
        ("dtype", manifest.dtype in DTYPES, f"one of {', '.join(map(repr, DTYPES))}"),
        ("every", _counts([manifest.every], 1), "a whole number of at least 1"),
        ("steps", _counts(manifest.steps, 0), "whole numbers, at least one"),
        ("shape", _counts(manifest.shape, 1) if logits else manifest.shape is None,
         "[N, ..., C] of logits" if logits else "null for weights"),
        ("sha256", manifest.sha256 is None or _texts(manifest.sha256, len(manifest.steps)), "a hash a checkpoint"),
    ):  # fmt: skip
        if not fits:
            raise StoreError(
                f"{where}: {name} in {path} must be {must}; got {getattr(manifest, name)!r}. Record the path again."
            )


def _counts(values: Any, least: int) -> bool:
    """Whether it is a list of whole numbers, at least one."""
    return isinstance(values, list) and bool(values) and all(type(n) is int and n >= least for n in values)


def _texts(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(text, str) for text in values)


def steps_in(where: str, folder: Path, manifest: Manifest | None) -> list[int]:
    """Steps of the files of weights, in order, all of the manifest's among them.

    Raises:
        StoreError: There is none, or one is missing.
    """
    found = [NAME.fullmatch(path.name) for path in folder.iterdir()]
    steps = sorted(int(match[1]) for match in found if match)
    if manifest is None and not steps:
        raise StoreError(
            f"{where}: {folder} must hold checkpoints step-00000000.pt, ...; got none. Write them with "
            "TeacherPath.record."
        )
    every = manifest.every if manifest else (steps[1] if steps[0] == 0 and len(steps) > 1 else 1)
    wanted = manifest.steps if manifest else []
    absent = [step for step in wanted if step not in steps]
    if absent:
        raise StoreError(
            f"{where}: {folder} must hold every checkpoint of its manifest; got no "
            f"{weights_file(folder, absent[0]).name}. Restore it, or record the path again."
        )
    check_steps(where, folder, steps, every)
    return steps


def check_steps(where: str, folder: Path, steps: list[int], every: int) -> None:
    """Raises where steps aren't 0, every, 2 every, ...: ``StoreError``."""
    for k, step in enumerate(steps):
        if step != k * every:
            raise StoreError(
                f"{where}: checkpoints in {folder} must be in order and equally far apart, after 0, {every}, "
                f"{2 * every}, ... steps; got {step} in place of {k * every}. Restore what is missing, or record the "
                "path again."
            )


def fingerprints(inputs: Any) -> np.ndarray:
    """A number of each sample's bytes, uint64 [N]: an augmented sample has another one."""
    N = num_samples(inputs)
    if isinstance(inputs, Mapping):  # a collator may return its columns in another order
        inputs = [inputs[key] for key in sorted(inputs)]
    rows = [x.detach().cpu().contiguous().reshape(N, -1).view(torch.uint8).numpy() for x in tensors_of(inputs)]
    hashes = [hashlib.blake2b(digest_size=8) for _ in range(N)]
    for part in rows:
        for sha, row in zip(hashes, part, strict=True):
            sha.update(row.data)
    return np.frombuffer(b"".join(sha.digest() for sha in hashes), dtype="<u8")
