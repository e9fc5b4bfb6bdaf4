"""The samples that were chosen, as one file that other tools read."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from infotorch.errors import DataError, unknown
from infotorch.store.files import write_bytes

__all__ = ["ENDINGS", "check_ending", "write_selected"]

WHERE = "store"


def check_ending(path: str | Path) -> str:
    """The form that the file's name says, one of ``ENDINGS``.

    Raises:
        ConfigError: It is none of them.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise unknown(WHERE, f"the ending of {str(path)!r}", ending, ENDINGS)
    return ending


def write_selected(
    path: str | Path, index: np.ndarray, ids: Sequence[str], columns: Mapping[str, Sequence[Any] | np.ndarray]
) -> None:
    """Writes the chosen samples to ``path``, whole or not at all; a file that is there is replaced.

    ``.csv`` and ``.parquet`` have the columns index, id and those given; ``.npy`` the places alone, int64 [K], for
    ``torch.utils.data.Subset``; ``.txt`` the ids, one a line, in UTF-8.

    Args:
        path: The file.
        index: Places in the data set, int64 [K].
        ids: Names of the samples, [K].
        columns: What else is known of them, [K] each.

    Raises:
        ConfigError: The ending is none of these.
        DataError: An id breaks the line in a ``.txt``.
        StoreError: The system refuses.
    """
    write = ENDINGS[check_ending(path)]
    table = pa.table({"index": pa.array(index, pa.int64()), "id": pa.array(ids, pa.string()), **columns})
    data = io.BytesIO()
    write(table, data)
    write_bytes(Path(path), data.getvalue())


def _write_npy(table: pa.Table, file: io.BytesIO) -> None:
    np.save(file, table["index"].to_numpy())


def _write_ids(table: pa.Table, file: io.BytesIO) -> None:
    ids = table["id"].to_pylist()
    for name in ids:
        if len(f"{name}.".splitlines()) > 1:
            raise DataError(
                f"{WHERE}: an id must be one line to stand in a .txt; got {name!a}. Write a .csv or a .parquet."
            )
    file.write("".join(f"{name}\n" for name in ids).encode())


ENDINGS: dict[str, Callable[[pa.Table, io.BytesIO], None]] = {
    ".csv": pyarrow.csv.write_csv,
    ".parquet": pyarrow.parquet.write_table,
    ".npy": _write_npy,
    ".txt": _write_ids,
}
