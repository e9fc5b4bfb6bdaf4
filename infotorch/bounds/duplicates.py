"""Equal items in one supersample: being trained on one is being trained on the other."""

import hashlib
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from infotorch import errors
from infotorch.bounds.plan import Plan

__all__ = ["warn_of_duplicates"]


def warn_of_duplicates(plan: Plan, items: Any) -> None:
    """Warns of the first supersample in which equal items come more than once.

    Args:
        plan: Says which items those are.
        items: [pool_size, ...], the pool's inputs: an array, a tensor, a sparse matrix, a pandas frame, or a list.

    Raises:
        DataError: There are more or fewer than the pool has.
    """
    size = items.shape[0] if hasattr(items, "shape") else len(items)
    if size != plan.pool_size:
        raise errors.DataError(
            f"run: items must be those of the pool, {plan.pool_size}; got {size}. Pass the pool's inputs."
        )
    digests = np.array([hashlib.sha256(content).digest() for content in _contents(items)])
    for k1, pairs in enumerate(plan.supersamples):
        _, counts = np.unique(digests[pairs.reshape(-1)], return_counts=True)
        twice = int((counts > 1).sum())
        if twice:
            warnings.warn(
                f"run: {twice} items of supersample {k1} come more than once: whether they were trained on is "
                "undefined, and estimates are too low. Remove duplicates from the pool.",
                stacklevel=3,
            )
            return


def _contents(items: Any) -> Iterator[bytes]:
    """Of each item, bytes that are the same for equal ones alone."""
    if hasattr(items, "tocsr"):
        rows = items.tocsr(copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
            yield pickle.dumps((rows.indices[start:stop].tolist(), rows.data[start:stop].tolist()))
        return
    for item in items.to_numpy() if hasattr(items, "iloc") else items:
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if isinstance(item, np.ndarray | np.generic) and item.dtype != object:
            yield f"{item.dtype.str} {item.shape} ".encode() + np.ascontiguousarray(item).tobytes()
        else:
            yield pickle.dumps(item.tolist() if isinstance(item, np.ndarray) else item)
