"""Scores of parts of a data set: tables put together, and errors that tell where a part begins."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from infotorch import errors
from infotorch.table import Column, Scores

__all__ = ["joined", "of_batch", "stacked"]


def joined(tables: Sequence[Scores]) -> Scores:
    """The columns of all tables, which have the same rows."""
    table = tables[0]
    for other in tables[1:]:
        table = table.join(other)
    return table


def stacked(parts: Sequence[Scores]) -> Scores:
    """Tables of following rows as one."""
    first = parts[0]
    columns = {
        name: Column(
            values=np.concatenate([part[name].values for part in parts]),
            unit=column.unit,
            source=column.source,
            kind=column.kind,
        )
        for name, column in first.columns.items()
    }
    return Scores(index=np.concatenate([part.index for part in parts]), columns=columns, main=first.main)


@contextlib.contextmanager
def of_batch(first: int) -> Iterator[None]:
    """What is wrong with a sample of a batch is told with the place where the batch starts."""
    try:
        yield
    except (errors.DataError, errors.NumericsError) as error:
        if not first:
            raise
        raise type(error)(f"{error} Samples count within a batch: this one starts at sample {first}.") from error
