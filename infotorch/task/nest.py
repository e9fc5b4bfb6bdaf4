"""Samples as they come: a tensor, or a nest of dicts, tuples and lists whose tensors share their first size."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor

from infotorch.errors import DataError

__all__ = ["check_finite", "mapped", "name_of", "num_samples", "select", "tensors_of"]


def tensors_of(x: Any) -> Iterator[Tensor]:
    """Every tensor of a tensor, or of a nest of dicts, tuples and lists."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (Mapping, tuple, list)):
        for entry in x.values() if isinstance(x, Mapping) else x:
            yield from tensors_of(entry)
    else:
        raise DataError(
            f"task: x must be a tensor or a nest of tensors; got {name_of(type(x))}. Pass torch.as_tensor(x)."
        )


def num_samples(x: Any) -> int:
    """The first size that all tensors of ``x`` share, at least 1."""
    sizes = [len(tensor) if tensor.dim() else None for tensor in tensors_of(x)]
    if not sizes or None in sizes or len(set(sizes)) > 1:
        raise DataError(f"task: tensors of x must share their first size N; got {sizes}. Pass one entry a sample.")
    if not sizes[0]:
        raise DataError("task: data must hold at least one sample; got none. Check the filter or the path.")
    return sizes[0]


def select(x: Any, index: slice | Tensor) -> Any:
    """The samples of ``x`` at ``index``, in the same nest."""
    return mapped(lambda tensor: tensor[index], x)


def mapped(fn: Callable[[Tensor], Any], x: Any) -> Any:
    """The nest of what ``fn`` makes of every tensor of ``x``; what is no tensor and no nest stays as it is."""
    if isinstance(x, Tensor):
        return fn(x)
    if isinstance(x, MutableMapping):
        result = copy.copy(x)  # of its own kind, which the model may ask for entries in its own way
        result.update({key: mapped(fn, entry) for key, entry in x.items()})
        return result
    if not isinstance(x, (tuple, list)):
        return x
    entries = [mapped(fn, entry) for entry in x]
    return type(x)(*entries) if hasattr(x, "_fields") else type(x)(entries)  # a namedtuple takes them one by one


def check_finite(what: str, tensor: Tensor) -> None:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    # A sum takes a fourth of the time; it is not finite if a term isn't, and seldom otherwise.
    if bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all()):
        return
    bad = tensor.reshape(len(tensor), -1) if tensor.dim() else tensor.reshape(1, 1)
    n = int((~bad.isfinite()).any(1).nonzero()[0])
    value = bad[n][~bad[n].isfinite()][0].item()
    raise DataError(f"task: {what} must be finite; got {value} at sample {n}. Remove or repair that sample.")


def name_of(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
