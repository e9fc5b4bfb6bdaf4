"""Equal items in one supersample: being trained on one is being trained on the other."""

import hashlib
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from infotorch import errors
from infotorch.bounds.grids.plan import Plan

__all__ = ["check_items", "warn_of_duplicates"]


def check_items(plan: Plan, items: Any) -> None:
    """Checks that there is an item for each of the pool.

    Raises:
        DataError: There are more or fewer.
    """
    size = items.shape[0] if hasattr(items, "shape") else len(items)
    if size != plan.pool_size:
        raise errors.DataError(
            f"run: items must be those of the pool, {plan.pool_size}; got {size}. Pass the pool's inputs."
        )


def warn_of_duplicates(plan: Plan, items: Any) -> None:
    """Warns of the first supersample in which equal items come more than once.

    Args:
        plan: Says which items those are; no others are looked at.
        items: [pool_size, ...], the pool's inputs: an array, a tensor, a sparse matrix, a pandas frame, or a list, of
            texts for instance.
    """
    places, where = np.unique(plan.supersamples, return_inverse=True)
    digests = np.array([hashlib.sha256(content).digest() for content in _contents(items, places)])
    for k1, own in enumerate(digests[where.reshape(plan.K1, -1)]):
        _, counts = np.unique(own, return_counts=True)
        twice = int((counts > 1).sum())
        if twice:
            warnings.warn(
                f"run: {twice} items of supersample {k1} come more than once: whether they were trained on is "
                "undefined, and estimates are too low. Remove duplicates from the pool.",
                stacklevel=3,
            )
            return


def _contents(items: Any, places: np.ndarray) -> Iterator[bytes]:
    """Of the item at each of the places, bytes that are the same for equal ones alone."""
    if hasattr(items, "tocsr"):
        rows = items.tocsr()[places]
        rows.sum_duplicates()
        rows.eliminate_zeros()
        for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
            yield pickle.dumps((rows.indices[start:stop].tolist(), rows.data[start:stop].tolist()))
        return
    for item in _at(items, places):
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if isinstance(item, np.ndarray | np.generic) and item.dtype != object:
            yield f"{item.dtype.str} {item.shape} ".encode() + np.ascontiguousarray(item).tobytes()
        else:
            yield pickle.dumps(item.tolist() if isinstance(item, np.ndarray) else item)


def _at(items: Any, places: np.ndarray) -> Any:
    if hasattr(items, "iloc"):
        return items.iloc[places].to_numpy()
    if isinstance(items, torch.Tensor):
        return items[torch.from_numpy(places).to(items.device)].cpu()
    return items[places] if isinstance(items, np.ndarray) else (items[int(place)] for place in places)
