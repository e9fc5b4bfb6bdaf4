"""A run being written: made or gone on with, one writer at a time, whole after any crash."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infotorch import errors
from infotorch.store.files import LOCK, TEMPORARY, file_hash, locked, refusals, sync_folder, write_bytes
from infotorch.store.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    check_same,
    encoded,
    plain,
    read_manifest,
    run_id,
    write_manifest,
)
from infotorch.store.run import Run
from infotorch.store.shards import Shard, rows_of, specs_of
from infotorch.table import Scores

FOLDERS = ("scores", "samples", "shards", "notes", "checkpoints")
_NOTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RunWriter(Run):
    """A run whose lock is held. Made by ``create`` and ``reopen``, used in their ``with`` block."""

    def append(self, start: int, scores: Scores) -> None:
        """Writes the scores of the shard that begins at row ``start``.

        Args:
            start: The first row of one of ``ranges()``.
            scores: Those rows, all of them; ``index`` is start, start + 1, ...

        Raises:
            StoreError: Other rows than the shard's, other columns than the run's, or the system refuses.
        """
        shard = self._shard("scores", start, len(scores))
        if not np.array_equal(scores.index, np.arange(shard.start, shard.stop)):
            raise errors.StoreError(
                f"store: scores must have index {shard.start} to {shard.stop - 1}; got {scores.index[0]} to "
                f"{scores.index[-1]}. Score every sample, in the order of the data set."
            )
        columns = specs_of(scores)
        if not self.manifest["columns"]:
            self._write({"columns": columns, "main": scores.main})
        elif columns != self.manifest["columns"] or scores.main != self.manifest["main"]:
            old, new = ([column["name"] for column in side] for side in (self.manifest["columns"], columns))
            raise errors.StoreError(
                f"store: every shard must have the columns {', '.join(old)} in dtype, unit, source and kind; got "
                f"{', '.join(new)} for rows {shard.start} to {shard.stop - 1}. Score all rows with the same measures."
            )
        shard.write(rows_of(scores))

    def put_samples(self, start: int, samples: pa.Table) -> None:
        """Writes what is known of the samples of the shard that begins at row ``start``.

        Args:
            start: The first row of one of ``ranges()``.
            samples: Those rows; columns as ``Run.samples`` returns them.

        Raises:
            StoreError: Other rows than the shard's, or the system refuses.
        """
        shard = self._shard("samples", start, len(samples))
        if samples.column_names[:1] != ["index"] or samples["index"].to_pylist() != list(
            range(shard.start, shard.stop)
        ):
            raise errors.StoreError(
                f"store: samples must begin with a column index, {shard.start} to {shard.stop - 1}; got other rows. "
                "Pass the samples in the order of the data set."
            )
        shard.write(samples)

    def has_samples(self, start: int) -> bool:
        """Whether the samples of the shard that begins at row ``start`` are there."""
        return any(shard.start == start and shard.there for shard in self.shards("samples"))

    def note(self, name: str, payload: Any) -> None:
        """Writes what the report shows besides scores, as ``notes/<name>.json``; an older one is replaced.

        Args:
            name: Letters, digits, "-" and "_".
            payload: Dicts with text keys, lists, text, numbers, dataclasses of these.

        Raises:
            ConfigError: The name or the payload is of another form.
            StoreError: The system refuses.
        """
        if not _NOTE_NAME.fullmatch(name):
            raise errors.ConfigError(
                f"store: a note's name must be letters, digits, - and _; got {name!r}. Choose another name."
            )
        data = encoded(plain(payload, f"notes.{name}"), sort_keys=False)
        path = self.path / "notes" / f"{name}.json"
        if path.is_file() and path.read_bytes() == data:
            return
        if self.manifest["complete"]:  # the hash that the manifest lists is about to be wrong
            self._write({"complete": False})
        write_bytes(path, data)

    def attach(self, name: str, data: bytes) -> None:
        """Writes the weights of a network, as ``checkpoints/<name>.pt``; older ones are replaced.

        Raises:
            StoreError: The system refuses.
        """
        path = self.path / "checkpoints" / f"{name}.pt"
        if path.is_file() and path.read_bytes() == data:
            return
        if self.manifest["complete"]:
            self._write({"complete": False})
        write_bytes(path, data)

    def finish(self) -> None:
        """Writes the manifest of the whole run, with the hash of every file.

        Raises:
            StoreError: A shard is missing, or a file that the run had when it was whole before; or the system refuses.
        """
        tables = ["scores", "samples"] if self.has("samples") else ["scores"]
        files: dict[str, str] = {}
        for table in tables:
            for shard in self.shards(table):
                if not shard.there:
                    raise errors.StoreError(
                        f"store: a finished run must have {table} of all {self.manifest['rows']} rows; got none of "
                        f"[{shard.start}, {shard.stop}). Write them first."
                    )
                for path in (shard.file, shard.record):
                    files[path.relative_to(self.path).as_posix()] = file_hash("store", path)
        for path in [*self.note_files(), *self.checkpoint_files()]:
            files[path.relative_to(self.path).as_posix()] = file_hash("store", path)
        for name in self.manifest["files"]:
            if name not in files:
                raise errors.StoreError(
                    f"store: a finished run must have {name}, as it had before; got no such file in {self.path}. "
                    "Restore it, or run the command that wrote it again."
                )
        changes = {"complete": True, "files": dict(sorted(files.items()))}
        if any(self.manifest[key] != value for key, value in changes.items()):
            self._write(changes)

    def _shard(self, table: str, start: int, num_rows: int) -> Shard:
        for shard in self.shards(table):
            if shard.start == start and shard.stop - shard.start == num_rows:
                return shard
        raise errors.StoreError(
            f"store: rows must be those of one shard, {self.manifest['shard_size']} from a multiple of it; got "
            f"{num_rows} from row {start}. Write what ranges() lists."
        )

    def _write(self, changes: Mapping[str, Any]) -> None:
        self.manifest = write_manifest(
            self.path, {key: changes.get(key, value) for key, value in self.manifest.items() if key != "sha256"}
        )


@contextlib.contextmanager
def create(
    path: str | Path,
    *,
    command: Mapping[str, Any],
    num_rows: int,
    shard_size: int = 65_536,
    data: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    columns: Sequence[Mapping[str, Any]] | None = None,
) -> Iterator[RunWriter]:
    """Makes the run in the folder ``path``, or goes on with it where the same command began it.

    What is written is never half there: after a crash, the shards whose records are there are kept, and the rest is
    written again. A file that is deleted from a whole run makes it an unfinished one. Leaving the block early, by any
    exception, leaves such a run.

    Args:
        path: A folder that is missing, empty, or holds this run.
        command: Everything that the results follow from, whole, in JSON's types.
        num_rows: N.
        shard_size: Rows of one file.
        data: The data set: its digest, and what else is known.
        provenance: Where the numbers come from: hashes, versions, threads, devices. Entries named versions, threads,
            devices and flags must agree only while files are missing, one named outputs only where those do.
        columns: The scores' columns (name, dtype, width, unit, source, kind); default those of the first shard.

    Raises:
        StoreError: The folder holds something else, the run of another command (the text names the first field that
            differs), a damaged shard, or another writer; or the system refuses.
        ConfigError: The command is not made of JSON's types, or sizes are not positive.
    """
    folder = Path(path)
    wanted = _manifest(command, num_rows, shard_size, data, provenance, columns)
    _check_folder(folder)
    with refusals("store", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if _begun(folder, wanted) is None:
            write_manifest(folder, wanted)
        yield _opened(folder)


def begun(
    path: str | Path,
    *,
    command: Mapping[str, Any],
    num_rows: int,
    shard_size: int = 65_536,
    data: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Run | None:
    """The run that :func:`create` would go on with, or None where it would begin one; nothing is made or written.

    Raises:
        StoreError: As :func:`create` refuses what the folder holds; files of shards are not read.
        ConfigError: As there.
    """
    folder = Path(path)
    wanted = _manifest(command, num_rows, shard_size, data, provenance, None)
    _check_folder(folder)
    return _begun(folder, wanted)


@contextlib.contextmanager
def reopen(path: str | Path) -> Iterator[RunWriter]:
    """The run in the folder ``path``, to be written to: for notes that come after its scores.

    Raises:
        StoreError: There is no run, it is damaged, or another process is writing it.
    """
    folder = Path(path)
    read_manifest("store", folder)
    with locked(folder):
        yield _opened(folder)


def _manifest(
    command: Mapping[str, Any],
    num_rows: int,
    shard_size: int,
    data: Mapping[str, Any] | None,
    provenance: Mapping[str, Any] | None,
    columns: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Of a run that begins."""
    for name, size in (("num_rows", num_rows), ("shard_size", shard_size)):
        if size < 1:
            raise errors.ConfigError(f"store: {name} must be at least 1; got {size}. Choose a positive number.")
    wanted: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "run": "",
        "complete": False,
        "command": plain(dict(command), "command"),
        "data": plain(dict(data or {}), "data"),
        "rows": num_rows,
        "shard_size": shard_size,
        "main": columns[0]["name"] if columns else None,
        "columns": [dict(column) for column in columns or ()],
        "provenance": plain(dict(provenance or {}), "provenance"),
        "files": {},
    }
    wanted["run"] = run_id(wanted["command"], wanted["data"])
    return wanted


def _begun(folder: Path, wanted: Mapping[str, Any]) -> Run | None:
    """The run in the folder, where there is one, checked to be the wanted one."""
    if not (folder / MANIFEST).exists():
        return None
    old = read_manifest("store", folder)
    there = Run(folder)
    check_same(folder, old, wanted, finished=there.finished)
    return there


def _check_folder(folder: Path) -> None:
    """Refuses what is there and not a run's."""
    with refusals("store", folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise errors.StoreError(f"store: out must be a folder; got the file {folder}. Choose another path.")
        # What a crash before the first manifest leaves is ours as well.
        foreign = sorted({entry.name for entry in folder.iterdir()} - {LOCK, MANIFEST + TEMPORARY})
    if foreign and MANIFEST not in foreign:
        raise errors.StoreError(
            f"store: out must be a new or empty folder, or a run; got {folder}, which holds {foreign[0]!r} and no "
            f"{MANIFEST}. Choose another folder."
        )


def _opened(folder: Path) -> RunWriter:
    """The writer of a run whose lock is held: leftovers removed, every file that is there compared with its hash."""
    with refusals("store", folder):
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        sync_folder(folder)
        for name in ("", *FOLDERS):
            for leftover in (folder / name).glob(f"*{TEMPORARY}"):
                leftover.unlink()
    run = RunWriter(folder)
    for table in ("scores", "samples"):
        for shard in run.shards(table):
            if shard.there:
                shard.check("store")
    for name, sha256 in run.manifest["files"].items() if run.manifest["complete"] else ():
        file = folder / name
        if file.suffix == ".json" and file.exists() and file_hash("store", file) != sha256:
            raise errors.StoreError(
                f"store: {file} must be as it was written; got content of another hash. Delete it, then run the same "
                "command again."
            )
    return run
