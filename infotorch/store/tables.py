"""Tables, and the samples that were chosen, as files that other programs read."""

import io
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from infotorch.errors import DataError, check_choice
from infotorch.store.files import write_file
from infotorch.store.manifest import plain

__all__ = ["SELECTED", "TABLES", "check_ending", "write_selected", "write_table"]


def check_ending(where: str, path: str | os.PathLike[str], endings: Collection[str] | None = None) -> str:
    """The form that the file's name says, in lower case: one of ``endings``, by default of ``TABLES``.

    Raises:
        ConfigError: It is none of them.
    """
    ending = Path(path).suffix.lower()
    check_choice(where, "the file's ending", ending, TABLES if endings is None else endings)
    return ending


def write_table(
    where: str, table: pa.Table, path: str | os.PathLike[str], endings: Collection[str] | None = None
) -> Path:
    """Writes ``table``: CSV, Parquet, one JSON object a line (.jsonl) or a list of them (.json).

    Args:
        where: What asks, for messages.
        table: The table.
        path: The file, in capitals or not.
        endings: Those that are allowed. Default: ``TABLES``; others need columns index or id.

    Returns:
        The path; a file of this name is replaced once the new one is whole.

    Raises:
        ConfigError: The path ends otherwise.
        StoreError: The system refuses.
    """
    write, path = _WRITERS[check_ending(where, path, endings)], Path(path)
    write_file(path, lambda file: write(table, file))
    return path


def write_selected(
    path: str | Path, index: np.ndarray, ids: Sequence[str], columns: Mapping[str, Sequence[Any] | np.ndarray]
) -> None:
    """Writes the chosen samples to ``path``, whole or not at all; a file that is there is replaced.

    Tables, as ``write_table`` knows them, have the columns index, id and those given; ``.npy`` the places alone, int64
    [K], for ``torch.utils.data.Subset``; ``.txt`` the ids, one a line, in UTF-8.

    Args:
        path: The file.
        index: Places in the data set, int64 [K].
        ids: Names of the samples, [K].
        columns: What else is known of them, [K] each.

    Raises:
        ConfigError: The ending is none of ``SELECTED``.
        DataError: An id breaks the line in a ``.txt``.
        StoreError: The system refuses.
    """
    table = pa.table({"index": pa.array(index, pa.int64()), "id": pa.array(ids, pa.string()), **columns})
    write_table("store", table, path, SELECTED)


def _rows(table: pa.Table) -> list[str]:
    return [json.dumps(plain(row, "row"), allow_nan=False) for row in table.to_pylist()]


def _write_jsonl(table: pa.Table, file: io.RawIOBase) -> None:
    file.write("".join(f"{row}\n" for row in _rows(table)).encode())


def _write_json(table: pa.Table, file: io.RawIOBase) -> None:
    file.write(("[" + ",\n".join(_rows(table)) + "]\n").encode())


def _write_npy(table: pa.Table, file: io.RawIOBase) -> None:
    data = io.BytesIO()
    np.save(data, table["index"].to_numpy())
    file.write(data.getvalue())


def _write_ids(table: pa.Table, file: io.RawIOBase) -> None:
    ids = table["id"].to_pylist()
    for name in ids:
        if len(f"{name}.".splitlines()) > 1:
            raise DataError(
                f"store: an id must be one line to stand in a .txt; got {name!a}. Write a .csv or a .parquet."
            )
    file.write("".join(f"{name}\n" for name in ids).encode())


_WRITERS: dict[str, Callable[[pa.Table, Any], None]] = {
    ".csv": pyarrow.csv.write_csv,
    ".parquet": pyarrow.parquet.write_table,
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".npy": _write_npy,
    ".txt": _write_ids,
}
TABLES = (".csv", ".parquet", ".jsonl", ".json")
"""Endings of files that hold a table."""
SELECTED = tuple(_WRITERS)
"""Endings of files that hold chosen samples."""
