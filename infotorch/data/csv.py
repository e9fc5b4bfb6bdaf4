"""The reader of CSV files: a table of numbers with labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from infotorch import errors
from infotorch.data.cells import Columns
from infotorch.data.columns import samples_of_columns
from infotorch.data.roles import ROLES
from infotorch.data.samples import Samples, shown

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def read_csv(path: Path) -> Samples:
    """The samples in a CSV file, one a row.

    Every column of numbers but labels and ids is a feature, so leave out what is none, such as survey weights. Columns
    of texts are metadata, never features: write categories as numbers, one column a category say, from a table of
    categories that train and test share.

    Args:
        path: A file in UTF-8 whose first line names the columns, with commas between them: labels in the column
            ``label`` (or y, labels, target, targets), whole numbers for classes, others for regression, texts for
            classes by name; ids, where known, in ``id``.

    Returns:
        The samples, checked: x float32 [N, D], in the order of the columns.

    Raises:
        DataError: No such file; lines of different length; another encoding; no labels; no numbers; a column of row
            numbers that pandas wrote; a cell that is empty, not finite, or no number in a column of numbers, by row and
            column.
    """
    # Ids keep their zeros ("007"); an empty cell alone is without value, so that others are shown as they came.
    options = csv.ConvertOptions(column_types=dict.fromkeys(ROLES["ids"], pa.string()), null_values=[""])
    try:
        table = csv.read_csv(
            path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options
        )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.DataError(f"read: the file must exist; got {path}. Correct the path.") from error
    except OSError as error:
        raise errors.DataError(f"read: {path} must be readable; got {error.strerror or error}. Look at it.") from error
    except pa.ArrowInvalid as error:
        raise errors.DataError(
            f"read: {path} must be a CSV file in UTF-8 with as many cells in each line; got {shown(str(error), 200)}. "
            "Correct it there."
        ) from error
    columns = Columns(
        where="read", name=str(path), schema=table.schema, num_rows=table.num_rows, batches=table.to_batches()
    )
    _check_texts(columns, table)
    return samples_of_columns(columns)


def _check_texts(columns: Columns, table: pa.Table) -> None:
    """Refuses numbers among texts: a column of numbers with one other cell would be a column of texts."""
    for name, cells in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_binary(cells.type):
            raise columns.error(
                f"column {name!r} of {columns.name} must be UTF-8; got other bytes. Save the file in that encoding."
            )
        if not pa.types.is_string(cells.type) or name in (*ROLES["ids"], *ROLES["texts"]):
            continue
        number = np.asarray(pc.match_substring_regex(cells, NUMBER))
        if number.any() and not number.all():
            row = int(number.argmin())
            raise columns.error(
                f"{columns.cell(name, row)}, must be a number, as {cells[int(number.argmax())].as_py()!r} in row "
                f"{number.argmax()} is; got {cells[row].as_py()!r}. Correct this cell, or leave the row or the column "
                "out."
            )
