"""Columns in Arrow's form for tests."""

import json

import pyarrow as pa

from infotorch.data.cells import Columns


def columns_of(values, features=None, batch=2):
    """``values``, arrays or lists by name, in batches of so many rows."""
    table = values if isinstance(values, pa.Table) else pa.table(values)
    return Columns(
        where="read", name="here", schema=described(table, features).schema, num_rows=len(table),
        batches=table.combine_chunks().to_batches(max_chunksize=batch),
    )  # fmt: skip


def described(table, features):
    """``table`` with the features of datasets in its schema."""
    if features is None:
        return table
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
