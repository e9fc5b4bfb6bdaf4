"""Checkpoints of a training: whole or absent on the disk, and refused where they belong to another one."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from infotorch.errors import ConfigError, StoreError, check_choice
from infotorch.store.files import read_bytes, write_file

__all__ = ["check_config", "check_format", "check_optimizer_state", "check_tensors", "load", "read", "write"]

FORMAT = "infotorch LimitTrainer 1"
LOAD = "LimitTrainer.load_state_dict"
NO_STATE = (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, struct.error,
            zipfile.BadZipFile, pickle.UnpicklingError)  # fmt: skip
"""What torch.load raises of bytes that it has not written."""
KEYS = ("format", "config", "classifier", "aux", "optimizer", "aux_optimizer", "schedulers", "scaler", "epoch", "step",
        "position", "epoch_rng", "rng", "scores", "meter", "sums", "best", "history")  # fmt: skip


def write(path: Path, state: Mapping[str, Any]) -> str:
    """Writes a checkpoint, and returns its SHA-256; the one that was there before stays until the new one is whole.

    Raises:
        StoreError: The system refuses; what was there before is still there.
    """
    buffer = io.BytesIO()  # torch's own writer ends the process where the disk is full
    torch.save(dict(state), buffer)

    def copy(file: io.RawIOBase) -> None:
        file.write(buffer.getbuffer())

    return write_file(path, copy)


def read(
    path: Path, *, where: str = "LimitTrainer.load", form: str = FORMAT, keys: Iterable[str] = KEYS
) -> dict[str, Any]:
    """The checkpoint at ``path``, in which are ``form`` and ``keys``; it can't hold code.

    Raises:
        StoreError: There is none, or it isn't one.
    """
    state = load(where, path, f"a checkpoint of {maker(form)}")
    check_format(where, str(path), state, form=form, keys=keys)
    return state


def load(
    where: str, path: Path, must: str, *, todo: str = "Take one that it has written.", shapes: bool = False,
    archive: bool = True,
) -> Any:  # fmt: skip
    """What ``write`` or torch.save wrote to ``path``, on the CPU; it can't hold code.

    Args:
        where: Who asks.
        path: Of the file.
        must: What it must be, for the error.
        todo: The remedy.
        shapes: Tensors come without their numbers, which are then not read.
        archive: It must have the form that torch.save writes since 1.6.

    Raises:
        StoreError: There is none, or it isn't whole, or holds code.
    """
    data = path if shapes and path.is_file() else io.BytesIO(read_bytes(where, path))
    try:
        if archive and not zipfile.is_zipfile(data):
            raise zipfile.BadZipFile("no archive")
        if isinstance(data, Path):
            return torch.load(data, map_location="meta", weights_only=True, mmap=True)
        data.seek(0)
        return torch.load(data, map_location="cpu", weights_only=True)
    except NO_STATE as error:
        raise StoreError(f"{where}: {path} must be {must}; got {_found(data, error)}. {todo}") from error


def _found(data: Path | io.BytesIO, error: Exception) -> str:
    """What stands in place of a checkpoint: a whole one is an archive, whose directory is at its end."""
    with data.open("rb") if isinstance(data, Path) else data as file:
        file.seek(0)
        head, whole = file.read(2), zipfile.is_zipfile(file)
    if not head:
        return "an empty file"
    if head == b"PK" and not whole:
        return "a file that is cut off"
    if not whole and head[:1] != b"\x80":  # with which a pickle begins, the form of torch.save before 1.6
        return "a file of another kind"
    return repr(str(error).partition("\n")[0][:80])


def maker(form: str) -> str:
    """Whose checkpoints are of this form."""
    return form.split()[1]


def check_format(where: str, what: str, state: Any, *, form: str = FORMAT, keys: Iterable[str] = KEYS) -> None:
    """Raises where ``state`` isn't what ``state_dict`` returns."""
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    missing = [key for key in keys if key not in state] if found == form else []
    if found != form or missing:
        got = f"{missing[0]!r} missing" if missing else repr(found)
        raise StoreError(
            f"{where}: {what} must be a checkpoint of {maker(form)} ({form}); got {got}. Take one that it has written."
        )


def check_config(
    saved: Mapping[str, Any],
    own: Mapping[str, Any],
    override: Iterable[str] | None,
    *,
    where: str = LOAD,
    remedy: str = "Build the trainer with it",
) -> None:
    """Raises where a checkpoint was made with other settings that its weights follow from.

    Raises:
        ConfigError: A setting differs and isn't in ``override``, or ``override`` names none; ``None``: it can't be
            given.
    """
    named = [] if override is None else list(override)
    for name in named:
        check_choice(where, "override", name, own)
    for name, value in own.items():
        if name not in named and saved.get(name) != value:
            todo = "" if override is None else f", or pass override=[{name!r}]"
            raise ConfigError(
                f"{where}: {name} must be that of the checkpoint, {saved.get(name)!r}; got {value!r}. {remedy}{todo}."
            )


def check_tensors(what: str, saved: Mapping[str, Any], own: Mapping[str, Any], *, where: str = LOAD) -> None:
    """Raises where a saved network hasn't the names and shapes of the trainer's own.

    Raises:
        StoreError: The text names the first difference.
    """
    for name in dict.fromkeys([*own, *saved]):
        mine, theirs = (_shape(state.get(name, _ABSENT)) for state in (own, saved))
        if mine != theirs:
            raise StoreError(
                f"{where}: {what} must be the network of the checkpoint, where {name} is "
                f"{theirs}; got {mine}. Build the network that was saved."
            )


def check_optimizer_state(where: str, name: str, optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Raises where an optimizer can't go on from a saved state: ``StoreError``."""
    theirs, mine = ([len(g["params"]) for g in d["param_groups"]] for d in (saved, optimizer.state_dict()))
    if theirs != mine:
        raise StoreError(
            f"{where}: {name} must have the parameter groups of the checkpoint, of {theirs} tensors; got {mine}. "
            "Make the same optimizer."
        )
    missing = [key for key in optimizer.defaults if key not in saved["param_groups"][0]]
    if missing:
        raise StoreError(
            f"{where}: {name} must be of the kind in the checkpoint; got {type(optimizer).__name__}, whose "
            f"{missing[0]} isn't there. Make the same optimizer."
        )


_ABSENT = object()


def _shape(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
