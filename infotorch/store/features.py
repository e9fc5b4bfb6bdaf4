"""Features of a data set's samples on disk, in parts of rows: written once, read for every label, time and ridge.

A folder ``features`` holds ``manifest.json``, which says what the features follow from, and for each part

* ``part-00000.npy``, the features [rows, C, k], float32, float64, or the bits of bfloat16 as uint16;
* ``part-00000.outputs.npy``, the network's outputs there, [rows, C];
* ``part-00000.json``, written last: rows, hashes of their inputs, SHA-256 of both files.
"""

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.store.files import file_hash, locked, refusals, write_bytes, write_file
from infotorch.store.manifest import decoded, encoded, first_difference, plain
from infotorch.store.shards import row_ranges

MANIFEST = "manifest.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows [start, stop) of a feature store."""

    folder: Path
    number: int
    start: int
    stop: int

    @property
    def file(self) -> Path:
        return self.folder / f"part-{self.number:05d}.npy"

    @property
    def outputs_file(self) -> Path:
        return self.folder / f"part-{self.number:05d}.outputs.npy"

    @property
    def record(self) -> Path:
        return self.folder / f"part-{self.number:05d}.json"

    def has(self, inputs: str) -> bool:
        """Whether the part is there, with features of inputs that have these hashes."""
        if not (self.record.exists() and self.file.exists() and self.outputs_file.exists()):
            return False
        found = decoded("store", self.record)
        return [found.get(key) for key in ("start", "stop", "inputs")] == [self.start, self.stop, inputs]

    def write(self, batches: Iterable[tuple[np.ndarray, np.ndarray]], inputs: str) -> None:
        """Writes features [n, C, k] and outputs [n, C] of following batches, then the record.

        Args:
            batches: Of the part's rows, in order.
            inputs: 64 bits of every row's inputs, in hexadecimal, one after the other.

        Raises:
            StoreError: The system refuses; the part is then not there, and those before it are.
        """
        with refusals("store", self.record):
            self.record.unlink(missing_ok=True)
        outputs = []

        def write(file: io.RawIOBase) -> None:
            rows = 0
            for values, f0 in batches:
                if not rows:
                    shape = (self.stop - self.start, *values.shape[1:])
                    header = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
                    head = io.BytesIO()
                    np.lib.format.write_array_header_1_0(head, header)
                    file.write(head.getvalue())
                file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
                outputs.append(f0)
                rows += len(values)
            if rows != self.stop - self.start:
                raise errors.DataError(
                    f"store: the data must have rows {self.start} to {self.stop - 1}; got {rows} of them. The data set "
                    "changed its length: run the command again with data that stay the same."
                )

        sha256 = write_file(self.file, write)
        numbers = io.BytesIO()
        np.save(numbers, np.concatenate(outputs))
        files = {self.file.name: sha256, self.outputs_file.name: write_bytes(self.outputs_file, numbers.getvalue())}
        record = {"start": self.start, "stop": self.stop, "inputs": inputs, "files": files}
        write_bytes(self.record, encoded(record, sort_keys=False))

    def read(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows [first, last) of the data set: features [rows, C, k], float32 or float64, and outputs [rows, C].

        Raises:
            StoreError: A file is missing or no array of these rows.
        """
        rows = slice(first - self.start, last - self.start)
        try:
            with refusals("store", self.file):
                features = _rows_of(self.file, rows)
                outputs = np.load(self.outputs_file, allow_pickle=False)
        except ValueError as error:
            raise self._damaged(f"no array ({error})") from error
        if len(features) != last - first or len(outputs) != self.stop - self.start:
            raise self._damaged(f"{len(features)} rows of {last - first}")
        if features.dtype == np.uint16:
            features = (features.astype(np.uint32) << 16).view(np.float32)  # bfloat16 is float32's upper half
        return features, outputs[rows]

    def check(self) -> None:
        """Compares the files with the hashes of the record.

        Raises:
            StoreError: A file is not as it was written; the text names it.
        """
        for name, sha256 in decoded("store", self.record)["files"].items():
            if file_hash("store", self.folder / name) != sha256:
                raise self._damaged("content of another hash")

    def _damaged(self, got: str) -> errors.StoreError:
        return errors.StoreError(
            f"store: {self.file} must be as it was written; got {got}. Delete {self.record.name} beside it, then run "
            "the same command again."
        )


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """The parts of one data set under one network and sketch."""

    folder: Path
    num_rows: int
    part_size: int

    def parts(self) -> Iterator[Part]:
        """All parts, in order."""
        for number, (start, stop) in enumerate(row_ranges(self.num_rows, self.part_size)):
            yield Part(folder=self.folder, number=number, start=start, stop=stop)

    def between(self, start: int, stop: int) -> Iterator[tuple[Part, int, int]]:
        """The parts that rows [start, stop) touch, each with its own share of them."""
        for part in self.parts():
            if part.start < stop and start < part.stop:
                yield part, max(part.start, start), min(part.stop, stop)


@contextmanager
def feature_store(
    folder: str | Path, *, key: Mapping[str, Any], num_rows: int, part_size: int
) -> Iterator[FeatureStore]:
    """The feature store in ``folder``, made where it is missing, with its lock held.

    A store may hold parts of fewer or more rows than ``num_rows``: those whose inputs have not changed are kept.

    Args:
        folder: Its folder.
        key: What features follow from beside the samples, in JSON's types.
        num_rows: N.
        part_size: Rows of a part.

    Raises:
        StoreError: The folder holds something else, or features of another key (the text names the first field that
            differs); or another process writes there.
    """
    path = Path(folder)
    wanted = _manifest(key, part_size)
    with refusals("store", path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if not _is_begun(path, wanted):
            write_bytes(path / MANIFEST, encoded(wanted, sort_keys=False))
        yield FeatureStore(folder=path, num_rows=num_rows, part_size=part_size)


def open_features(
    folder: str | Path,
    *,
    num_rows: int | None = None,
    key: Mapping[str, Collection[Any]] | None = None,
    inputs: str | None = None,
) -> FeatureStore:
    """The feature store in ``folder``, to be read.

    Args:
        folder: The store's folder, or one that holds it as ``network-0``, as the folder of a run's features does.
        num_rows: N, of how many samples. Default: all rows that have features there; those of several data sets, which
            a folder that was used again may hold, are then told apart by the bounds of parts alone.
        key: Entries that the store's key must have, each one of these values.
        inputs: What the rows' inputs must be, by ``infotorch.data.inputs_digest``.

    Raises:
        StoreError: There is none, a part is missing or not as it was written, or the features are of another key, of
            other inputs, or of another number of rows.
    """
    path = Path(folder)
    path = path if (path / MANIFEST).is_file() else path / "network-0"
    if not (path / MANIFEST).is_file():
        raise errors.StoreError(
            f"open: {folder} must be a folder of features; got no {MANIFEST} in it. Give the folder that features= "
            "named."
        )
    manifest = decoded("open", path / MANIFEST)
    for name, values in (key or {}).items():
        if (there := manifest["key"].get(name)) not in values:
            raise errors.StoreError(
                f"open: features in {path} must be of this run; got {name} {there!r} there, "
                f"{' or '.join(map(repr, values))} here. Give the folder that features= named for it."
            )
    if num_rows is None:
        num_rows = max((decoded("open", record)["stop"] for record in path.glob("part-*.json")), default=0)
    found = FeatureStore(folder=path, num_rows=num_rows, part_size=manifest["part_size"])
    _check_rows(found, inputs)
    for part in found.parts():
        part.check()
    return found


def _check_rows(store: FeatureStore, inputs: str | None) -> None:
    """Refuses a store without all its rows, or, where ``inputs`` tells them, with those of others."""
    sha256 = hashlib.sha256()
    if not store.num_rows:
        raise errors.StoreError(f"open: {store.folder} must have every part of its features; got none. {_GO_ON}")
    for part in store.parts():
        if not part.record.exists():
            raise errors.StoreError(
                f"open: {store.folder} must have features of rows {part.start} to {part.stop - 1} of {store.num_rows}; "
                f"got no {part.record.name}. {_GO_ON}"
            )
        record = decoded("open", part.record)
        if (record["start"], record["stop"]) != (part.start, part.stop):
            raise errors.StoreError(
                f"open: features in {store.folder} must be of {store.num_rows} samples; got rows {record['start']} to "
                f"{record['stop'] - 1} in {part.record.name}, for {part.start} to {part.stop - 1}: the folder holds "
                f"those of another number of samples. {_ANEW}"
            )
        if inputs is not None:
            sha256.update(bytes.fromhex(record["inputs"]))
    if inputs is not None and sha256.hexdigest() != inputs:
        raise errors.StoreError(
            f"open: features in {store.folder} must be of these samples; got inputs {sha256.hexdigest()!r} there, "
            f"{inputs!r} here: the folder was used again for other data. {_ANEW}"
        )


_GO_ON = "Run the command that wrote them again, with a new folder for the run if that is finished."
_ANEW = "Give another folder, or score these samples with new folders for the run and its features."


def features_begun(folder: str | Path, *, key: Mapping[str, Any], num_rows: int, part_size: int) -> FeatureStore | None:
    """The store that :func:`feature_store` would go on with, or None where it would begin one; nothing is written.

    Raises:
        StoreError: As there, but for the lock.
    """
    path = Path(folder)
    if not (path.exists() and _is_begun(path, _manifest(key, part_size))):
        return None
    return FeatureStore(folder=path, num_rows=num_rows, part_size=part_size)


def _manifest(key: Mapping[str, Any], part_size: int) -> dict[str, Any]:
    return {"version": VERSION, "part_size": part_size, "key": plain(dict(key), "features")}


def _is_begun(path: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the folder holds a store, of this manifest; an empty one does not, and any other is refused."""
    if (path / MANIFEST).exists():
        _check_same(path, decoded("store", path / MANIFEST), wanted)
        return True
    with refusals("store", path):
        foreign = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if foreign:
        raise errors.StoreError(
            f"store: features must go to a new or empty folder, or a feature store; got {path}, which holds "
            f"{foreign[0]!r}. Choose another folder."
        )
    return False


def _rows_of(file: Path, rows: slice) -> np.ndarray:
    """Rows of an array file, read into memory of their own: pages of a map would count as the process's."""
    with open(file, "rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        values = np.empty((max(0, min(rows.stop, shape[0]) - rows.start), *shape[1:]), dtype)
        stream.seek(rows.start * values[:1].nbytes, io.SEEK_CUR)
        return values[: stream.readinto(values.data) // max(1, values[:1].nbytes)]


def _check_same(path: Path, old: Any, wanted: Mapping[str, Any]) -> None:
    if found := first_difference(old, wanted, ""):
        name, there, here = found
        raise errors.StoreError(
            f"store: features in {path} must be of this network and sketch; got {name.removeprefix('key.')} {there!r} "
            f"there, {here!r} here. Choose another folder for the features, or delete it."
        )
