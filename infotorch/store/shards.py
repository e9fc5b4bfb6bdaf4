"""Shards: rows [start, stop) of a run as one Parquet file, and the record that says it is there."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infotorch import errors
from infotorch.store.files import file_hash, read_bytes, refusals, write_bytes, write_file
from infotorch.store.manifest import damaged, decoded, encoded
from infotorch.table import Column, Scores

ROW_GROUP = 65_536
RECORDS = {"scores": "part", "samples": "samples"}
"""The tables of a run, and how the names of their records begin."""


def row_ranges(num_rows: int, shard_size: int) -> list[tuple[int, int]]:
    """The shards' rows [start, stop): they follow from the number of rows and the shard size alone."""
    return [(start, min(start + shard_size, num_rows)) for start in range(0, num_rows, shard_size)]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Where one shard of a table stands in a run's folder."""

    folder: Path
    """The run's folder."""
    table: str
    """"scores" or "samples"."""
    number: int
    """0 for the first rows."""
    start: int
    """Its first row."""
    stop: int
    """One past its last row."""

    @property
    def file(self) -> Path:
        """The Parquet file."""
        return self.folder / self.table / f"part-{self.number:05d}.parquet"

    @property
    def record(self) -> Path:
        """The JSON file that is written after it."""
        return self.folder / "shards" / f"{RECORDS[self.table]}-{self.number:05d}.json"

    @property
    def there(self) -> bool:
        """Whether the shard has been written: file and record, which comes last."""
        return self.record.exists() and self.file.exists()

    def write(self, rows: pa.Table) -> None:
        """Writes the Parquet file, then its record.

        Raises:
            StoreError: The system refuses; the shard is then not there.
        """

        def write(file: io.RawIOBase) -> None:
            # version and sizes are spelled out: a file's bytes shall not follow from pyarrow's defaults.
            pq.write_table(
                rows,
                file,
                compression="zstd",
                compression_level=3,
                row_group_size=ROW_GROUP,
                version="2.6",
                data_page_size=1 << 20,
                write_statistics=True,
            )

        with refusals("store", self.record):
            self.record.unlink(missing_ok=True)  # one without its file; it must not speak for the new one
        sha256 = write_file(self.file, write)
        name = self.file.relative_to(self.folder).as_posix()
        record = {"start": self.start, "stop": self.stop, "file": name, "sha256": sha256}
        write_bytes(self.record, encoded(record, sort_keys=False))

    def check(self, where: str) -> None:
        """Compares record and file.

        Raises:
            StoreError: The record is of other rows, or the file's hash is not the record's; the text names the file.
        """
        if file_hash(where, self.file) != self._recorded(where):
            raise self._damaged(where, "content of another hash")

    def read(self, where: str, columns: list[str] | None = None) -> pa.Table:
        """The rows, from bytes whose hash has been compared with the record.

        Raises:
            StoreError: The file is missing or damaged; the text names it.
        """
        try:
            rows = pq.read_table(self._bytes(where), columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(where, f"no Parquet ({str(error).splitlines()[0]})") from error
        if len(rows) != self.stop - self.start:
            raise self._damaged(where, f"{len(rows)} rows for [{self.start}, {self.stop})")
        return rows

    def names(self, where: str) -> list[str]:
        """The names of the columns.

        Raises:
            StoreError: The file is missing or damaged; the text names it.
        """
        try:
            return list(pq.read_schema(self._bytes(where)).names)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(where, f"no Parquet ({str(error).splitlines()[0]})") from error

    def _bytes(self, where: str) -> pa.BufferReader:
        """The file's content, whose hash has been compared with the record."""
        data = read_bytes(where, self.file)
        if hashlib.sha256(data).hexdigest() != self._recorded(where):
            raise self._damaged(where, "content of another hash")
        return pa.BufferReader(arrows_own(data))

    def _recorded(self, where: str) -> str:
        record = decoded(where, self.record)
        name = self.file.relative_to(self.folder).as_posix()
        if not isinstance(record, dict) or [record.get(key) for key in ("start", "stop", "file")] != [
            self.start,
            self.stop,
            name,
        ]:
            raise damaged(where, self.record, f"a record that is not of rows [{self.start}, {self.stop})")
        return str(record.get("sha256"))

    def _damaged(self, where: str, got: str) -> errors.StoreError:
        return errors.StoreError(
            f"{where}: {self.file} must be as it was written; got {got}. "
            f"Delete it and {self.record.name} in shards, then run the same command again."
        )


def shards(folder: Path, table: str, num_rows: int, shard_size: int) -> Iterator[Shard]:
    """All shards that a table has when its run is whole, in order."""
    for number, (start, stop) in enumerate(row_ranges(num_rows, shard_size)):
        yield Shard(folder=folder, table=table, number=number, start=start, stop=stop)


def specs_of(scores: Scores) -> list[dict[str, Any]]:
    """What the manifest says of each column; width is C, or null for one number a sample."""
    return [
        {
            "name": name,
            "dtype": column.values.dtype.name,
            "width": column.values.shape[1] if column.values.ndim == 2 else None,
            "unit": column.unit,
            "source": column.source,
            "kind": column.kind,
        }
        for name, column in scores.columns.items()
    ]


def arrows_own(data: bytes) -> pa.Buffer:
    """A copy that needs no Python to be freed: Arrow's threads do that, and abort after the interpreter's end."""
    buffer = pa.allocate_buffer(len(data))
    np.frombuffer(buffer, np.uint8)[:] = np.frombuffer(data, np.uint8)
    return buffer


def rows_of(scores: Scores) -> pa.Table:
    """Scores as an Arrow table: index, then one column a score, unit, source and kind in the fields' metadata."""
    arrays = [pa.array(scores.index)]
    fields = [pa.field("index", pa.int64(), nullable=False)]
    for name, column in scores.columns.items():
        values = np.ascontiguousarray(column.values)
        array = pa.array(values.reshape(-1))
        if values.ndim == 2:
            array = pa.FixedSizeListArray.from_arrays(array, values.shape[1])
        arrays.append(array)
        about = {"unit": column.unit, "source": column.source, "kind": column.kind}
        fields.append(pa.field(name, array.type, nullable=False, metadata=about))
    return pa.table(arrays, schema=pa.schema(fields))


def scores_of(rows: pa.Table, specs: list[Mapping[str, Any]], main: str | None) -> Scores:
    """The inverse of ``rows_of``, for the columns that the manifest names."""

    def values(spec: Mapping[str, Any]) -> np.ndarray:
        array = rows[spec["name"]].combine_chunks()
        width = spec["width"]
        flat = array.flatten() if width else array
        found = flat.to_numpy(zero_copy_only=False).astype(spec["dtype"], copy=False)
        return found.reshape(len(array), width) if width else found

    columns = {
        spec["name"]: Column(values=values(spec), unit=spec["unit"], source=spec["source"], kind=spec["kind"])
        for spec in specs
    }
    index = rows["index"].to_numpy().astype(np.int64, copy=False)
    return Scores(index=index, columns=columns, main=main)
