"""Tables as files that other programs read."""

import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from infotorch.errors import unknown
from infotorch.store.files import write_file
from infotorch.store.manifest import plain

ENDINGS = (".csv", ".parquet", ".jsonl", ".json")
OUT_HELP = "Write the whole table: .csv, .parquet, .jsonl or .json."


def check_ending(where: str, path: str | os.PathLike[str]) -> Path:
    """The path, whose ending says what is written.

    Raises:
        ConfigError: It ends otherwise.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise unknown(where, "the file's ending", path.suffix, ENDINGS)
    return path


def write_table(where: str, table: pa.Table, path: str | os.PathLike[str]) -> Path:
    """Writes ``table``: CSV, Parquet, one JSON object a line (.jsonl) or a list of them (.json).

    Returns:
        The path; a file of this name is replaced once the new one is whole.

    Raises:
        ConfigError: The path ends otherwise.
        StoreError: The system refuses.
    """
    path = check_ending(where, path)

    def write(file: io.RawIOBase) -> None:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(table, file)
        elif path.suffix == ".parquet":
            pyarrow.parquet.write_table(table, file)
        else:
            rows = [json.dumps(plain(row, "row"), allow_nan=False) for row in table.to_pylist()]
            text = "".join(f"{row}\n" for row in rows) if path.suffix == ".jsonl" else "[" + ",\n".join(rows) + "]\n"
            file.write(text.encode())

    write_file(path, write)
    return path
