"""Samples from a Dataset of Hugging Face datasets, known by its attributes; the library itself isn't needed here."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from infotorch.data.cells import Columns
from infotorch.data.columns import samples_of_columns
from infotorch.data.samples import Samples

BATCH = 1024


def is_dataset(data: Any) -> bool:
    """Whether it is a ``datasets.Dataset``."""
    return all(hasattr(data, name) for name in ("features", "format", "with_format", "__len__"))


def class_names(data: Any, column: str) -> tuple[str, ...] | None:
    """The names of a ClassLabel's classes; ``None`` of any other column."""
    names = getattr(data.features.get(column), "names", None)
    return None if names is None else tuple(names)


def samples_of_dataset(data: Any) -> Samples:
    """The samples in a Dataset without format and transform, one a row, as those in a Parquet file.

    Raises:
        DataError: What ``samples_of_columns`` refuses.
        MissingExtraError: There are pictures, and no Pillow.
    """
    names = data.format["columns"]
    schema = data.features.arrow_schema
    return samples_of_columns(
        Columns(
            where="data",
            name="the Dataset",
            schema=pa.schema([schema.field(name) for name in names], metadata=schema.metadata),
            num_rows=len(data),
            batches=_batches(data.with_format("arrow", columns=names)),
        )
    )


def _batches(data: Any) -> Iterator[pa.RecordBatch]:
    for table in data.iter(BATCH):
        yield from table.to_batches()
