"""What a run is: the manifest, its JSON form, and the comparison of two commands."""

import dataclasses
import hashlib
import json
import math
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.store.files import read_bytes, refusals, write_bytes

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

ENVIRONMENT = ("versions", "threads", "devices", "flags")
"""Entries of the provenance that describe the machine: they must agree while shards are still to be computed."""
OUTPUTS = "outputs"
"""Entry of the provenance that is known to the last bit, so it must agree where the machine does."""

LAST = ("argv", "code", OUTPUTS)
"""Entries that repeat their neighbours as one text, or are digests of what these may name."""


def plain(value: Any, where: str) -> Any:
    """``value`` as JSON has it: dicts with text keys, lists, text, numbers, true, false, null.

    Infinite numbers become the texts "inf" and "-inf", which JSON has no numbers for.

    Raises:
        ConfigError: Something else is in it; the text names the place.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and not math.isnan(value):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, where)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, f"{where}[{place}]") for place, entry in enumerate(value)]
    got = "nan" if isinstance(value, float) else type(value).__name__
    raise errors.ConfigError(
        f"store: {where} must be made of dicts with text keys, lists, text and numbers; got {got}. Convert it."
    )


def encoded(value: Any, *, sort_keys: bool) -> bytes:
    """JSON for people and hashes: indented, one newline at the end, the same bytes for the same value."""
    # Lone surrogates have no UTF-8; ASCII escapes keep them and everything else.
    return (json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n").encode("ascii")


def decoded(where: str, path: Path) -> Any:
    """The JSON in ``path``.

    Raises:
        StoreError: It is missing or damaged; the text names it.
    """
    try:
        return json.loads(read_bytes(where, path))
    except ValueError as error:
        raise damaged(where, path, f"text that is no JSON ({error})") from error


def damaged(where: str, path: Path, got: str) -> errors.StoreError:
    """The error for a file whose content is not what was written."""
    return errors.StoreError(
        f"{where}: {path} must be as it was written; got {got}. "
        "Restore it, or delete the run's folder and run the same command again."
    )


def first_difference(old: Any, new: Any, path: str) -> tuple[str, Any, Any] | None:
    """Path and both values of the first place where two JSON values differ; ``None`` where they are equal.

    Entries that say the least to a reader come last among their neighbours. Absent is shown as "nothing".
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=lambda key: (key in LAST, key)):
            place = f"{path}.{key}" if path else key
            if key not in old or key not in new:
                return place, old.get(key, "nothing"), new.get(key, "nothing")
            if found := first_difference(old[key], new[key], place):
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        places = (first_difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(old, new, strict=True)))
        return next((found for found in places if found), None)
    same = old == new and isinstance(old, bool) == isinstance(new, bool)  # 0 and 0.0 are one number, 0 and false not
    return None if same else (path, old, new)


def run_id(command: Any, data: Any) -> str:
    """The same command on the same data has the same name everywhere."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "infotorch:" + encoded([command, data], sort_keys=True).decode()))


def _digest(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(encoded(rest, sort_keys=True)).hexdigest()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest with the hash of itself; returns what was written."""
    whole = {**manifest, "sha256": _digest(manifest)}
    write_bytes(folder / MANIFEST, encoded(whole, sort_keys=False))
    return whole


def holds_run(folder: Path) -> bool:
    """Whether a manifest of a run is there, whole or not."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "schema_version" in manifest


def read_manifest(where: str, folder: Path) -> dict[str, Any]:
    """The manifest of the run in ``folder``.

    Raises:
        StoreError: There is no run, the manifest is damaged, or a newer infotorch wrote it.
    """
    path = folder / MANIFEST
    with refusals(where, path):
        there, folder_there = path.is_file(), folder.exists()
    if not there:
        got = "no such folder" if not folder_there else f"no {MANIFEST} in it"
        runs = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}")) if folder_there else []
        todo = f"It holds the runs {', '.join(runs)}: give one of them." if runs else "Give the folder that out= named."
        raise errors.StoreError(f"{where}: {folder} must be a run; got {got}. {todo}")
    manifest = decoded(where, path)
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise damaged(where, path, f"schema_version {version!r}")
    if version > SCHEMA_VERSION:
        raise errors.StoreError(
            f"{where}: schema_version of {path} must be at most {SCHEMA_VERSION}; got {version}, of a newer infotorch. "
            "Run: pip install --upgrade infotorch."
        )
    if manifest.get("sha256") != _digest(manifest) or encoded(manifest, sort_keys=False) != read_bytes(where, path):
        raise damaged(where, path, "content of another hash")
    return manifest


def check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any], *, finished: bool) -> None:
    """Refuses to go on with a run that another command, other data or, unfinished, another machine began.

    Raises:
        StoreError: They differ; the text names the first field, with both values.
    """
    for part in ("command", "data", "rows", "shard_size", "provenance"):
        a, b = old[part], new[part]
        if part == "provenance":
            same_machine = all(a.get(key) == b.get(key) for key in ENVIRONMENT)
            left_out = () if same_machine else (*ENVIRONMENT, OUTPUTS) if finished else (OUTPUTS,)
            a, b = ({key: value for key, value in side.items() if key not in left_out} for side in (a, b))
        if found := first_difference(a, b, part):
            place, was, now = found
            raise errors.StoreError(
                f"store: {folder} must be a run of this command, data and network; got {place} {_shown(was)} there and "
                f"{_shown(now)} now. Choose another folder, or delete this one."
            )


def _shown(value: Any) -> str:
    text = value if value == "nothing" else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"
