"""Columns in Arrow's form, their cells as NumPy arrays and texts, and how messages name them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infotorch import errors


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Rows that come batch by batch."""

    where: str
    """The function that messages name."""
    name: str
    """What messages call the rows, as the path of a file."""
    schema: pa.Schema
    """Names and types of the columns."""
    num_rows: int
    """N."""
    batches: Iterable[pa.RecordBatch]
    """All rows, in order."""

    def error(self, what: str) -> errors.DataError:
        return errors.DataError(f"{self.where}: {what}")

    def cell(self, column: str, row: int) -> str:
        """A cell, in words."""
        return f"row {row} (the first is 0), column {column!r} of {self.name}"

    def kind(self, column: str) -> str:
        """What the cells of a column are: ``kind_of`` of its type."""
        return kind_of(self.schema.field(column).type)

    @cached_property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        """What Hugging Face datasets wrote of the columns into the schema, as ``{"_type": "Image"}``; empty without it.

        Raises:
            DataError: What is there has another form.
        """
        text = (self.schema.metadata or {}).get(b"huggingface")
        if text is None:
            return {}
        try:
            features = json.loads(text)["info"]["features"]
            return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.error(
                f"the schema of {self.name} must hold the features of datasets as JSON under 'huggingface'; got text "
                "of another form. Write the file anew, or take that entry out."
            ) from error

    def whole(self, column: str, cells: pa.Array, start: int) -> pa.Array:
        """``cells``, from row ``start`` on, in their plain type.

        Raises:
            DataError: A cell without value.
        """
        if cells.null_count:
            row = start + int(np.asarray(cells.is_null()).argmax())
            raise self.error(
                f"{self.cell(column, row)}, must have a value; got none. Fill this cell in, or leave the row out."
            )
        if isinstance(cells.type, pa.BaseExtensionType):
            cells = cells.storage
        return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells


def kind_of(type: pa.DataType) -> str:
    """What cells of an Arrow type are: number, text, time, list, picture or other."""
    types = pa.types
    if isinstance(type, pa.BaseExtensionType):
        return kind_of(type.storage_type)
    if types.is_dictionary(type):
        return kind_of(type.value_type)
    if types.is_integer(type) or types.is_floating(type) or types.is_boolean(type) or types.is_decimal(type):
        return "number"
    if types.is_string(type) or types.is_large_string(type):
        return "text"
    if types.is_date(type) or types.is_timestamp(type) or types.is_time(type):
        return "time"
    if types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type):
        return "list"
    if types.is_struct(type):
        return "picture" if type.get_field_index("bytes") >= 0 else "other"
    return "picture" if types.is_binary(type) or types.is_large_binary(type) else "other"


def numbers(cells: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Cells of numbers, none missing, [N]; decimal ones are float64."""
    if pa.types.is_decimal(cells.type):
        cells = cells.cast(pa.float64())
    return cells.to_numpy(zero_copy_only=False) if isinstance(cells, pa.Array) else cells.to_numpy()


def texts(cells: pa.ChunkedArray) -> list[str]:
    """Cells of texts, numbers or times as texts, N of them."""
    if kind_of(cells.type) == "time":
        cells = pc.cast(cells, pa.string())
    return list(map(str, cells.to_pylist()))
