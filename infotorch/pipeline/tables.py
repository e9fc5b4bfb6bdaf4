"""Tables of scores put together: beside each other, and one under the other."""

from collections.abc import Sequence

import numpy as np

from infotorch.table import Column, Scores

__all__ = ["joined", "stacked"]


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
