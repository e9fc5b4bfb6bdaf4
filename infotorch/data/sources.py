"""Samples from what a PyTorch user has: tensors, arrays, a map-style Dataset, a DataLoader."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, TensorDataset

from infotorch import errors
from infotorch.data.huggingface import class_names, is_dataset, samples_of_dataset
from infotorch.data.roles import ROLES, TOKENIZE
from infotorch.data.samples import Samples, shown
from infotorch.data.streams import Scan, StreamedInputs

STREAM_BATCH = 256
_FORMS = "(x, y), a map-style Dataset, a DataLoader or Samples"


def samples_of(data: Any) -> Samples:
    """All samples of ``data``, in memory, in their one fixed order.

    Integer labels become int64, the type of torch's losses. Samples without ids are numbered "0", "1", ...

    Args:
        data: Samples; or (x, y) or (x, y, ids) of tensors or arrays; or a map-style Dataset or a DataLoader whose items
            are such tuples, or dicts with x and y under one of the usual keys (input, image, pixel_values; label,
            target), ids under "id", texts under "text", and anything else with one value a sample as metadata. A
            ``datasets.Dataset`` of Hugging Face without format or transform is taken as a Parquet file is
            (``infotorch.data.columns.samples_of_columns``), one with such as any map-style Dataset; either brings the
            names of its classes along.

    Returns:
        The samples, checked.

    Raises:
        DataError: No length or no fixed order (a shuffling loader, a generator); samples that disagree in shape; or
            what Samples refuses.
        MissingExtraError: A ``datasets.Dataset`` has pictures, and there is no Pillow.
    """
    if isinstance(data, Samples):
        return data
    if is_dataset(data):
        if data.format["type"] is None:
            return samples_of_dataset(data)
        names = [class_names(data, name) for name in ROLES["y"] if name in data.format["columns"]]
        samples = _collected((data[place] for place in range(len(data))), batched=False)
        return replace(samples, label_names=names[0] if names else None)
    if isinstance(data, DataLoader):
        _order_of(data)
        return _collected(iter(data), batched=data.batch_sampler is not None)
    if isinstance(data, TensorDataset):
        return samples_of(data.tensors)
    items = isinstance(data, list) and (not data or isinstance(data[0], (tuple, list, Mapping)))
    if isinstance(data, (tuple, list)) and not items:
        return _of_fields(_fields(tuple(data)), {})
    if isinstance(data, IterableDataset) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise errors.DataError(
            f"data: data must have a length and a fixed order, as {_FORMS} has; got {type(data).__name__}. "
            "Collect it into tensors (x, y) first."
        )
    if not isinstance(data, Dataset) and isinstance(data, (str, bytes, Mapping, Tensor, np.ndarray)):
        raise errors.DataError(
            f"data: data must be {_FORMS}; got {type(data).__name__}. "
            + (
                f"Pass one of its splits, {next(iter(data))!r} say."
                if isinstance(data, Mapping) and any(map(is_dataset, data.values()))
                else "Pass (x, y), or infotorch.data.read(path) for a file."
            )
        )
    return _collected((data[place] for place in range(len(cast(Sized, data)))), batched=False)


def streamed(data: Dataset | DataLoader) -> Samples:
    """The samples of ``data`` with inputs that are read when they are asked for, a batch at a time.

    For data sets larger than the memory. All samples are read once now, for labels, ids and what the inputs are known
    by; whoever reads them later is refused when one has changed.

    Args:
        data: A map-style Dataset, or a DataLoader that doesn't shuffle, whose workers read. Items are those of
            ``samples_of``.

    Raises:
        DataError: Data without a length or a fixed order, or what Samples refuses.
    """
    if not isinstance(data, DataLoader):
        map_style = hasattr(data, "__len__") and hasattr(data, "__getitem__")
        if not map_style or isinstance(data, (IterableDataset, tuple, Tensor, np.ndarray, Mapping, str)):
            raise errors.DataError(
                f"data: what is streamed must be a map-style Dataset or a DataLoader; got {type(data).__name__}. "
                "Wrap it in a Dataset with __len__ and __getitem__."
            )
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size=STREAM_BATCH)
    order = _order_of(loader)
    if loader.batch_sampler is None:
        raise errors.DataError(
            "data: a loader whose inputs are streamed must make batches; got batch_size=None. Give it a batch_size."
        )

    def batches(places: Sequence[Sequence[int]]) -> Iterator[Any]:
        return iter(
            DataLoader(
                loader.dataset,
                batch_sampler=[[order[place] for place in batch] for batch in places],
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
                worker_init_fn=loader.worker_init_fn,
                multiprocessing_context=loader.multiprocessing_context,
            )
        )

    def read(places: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        try:
            for first, batch in zip(places, batches(places), strict=True):
                yield _tensor("x", _fields(batch)["x"], first[0])
        except IndexError as error:
            raise errors.DataError(
                f"data: the data set must keep its {len(order)} samples; got an IndexError from it "
                f"({shown(str(error))}). Leave the data as they are while a run goes on."
            ) from error

    scan, size = Scan(), loader.batch_size or STREAM_BATCH
    places = [range(start, min(start + size, len(order))) for start in range(0, len(order), size)]
    return _collected(batches(places), batched=True, inputs=(scan, read))


def inputs_of(data: Any) -> Tensor:
    """The inputs alone, [M, ...], of test samples.

    Args:
        data: Inputs, as a tensor or an array; or whatever ``samples_of`` takes.

    Raises:
        DataError: What ``samples_of`` refuses.
    """
    if isinstance(data, (Tensor, np.ndarray)):
        x = _tensor("x", data, 0)
        data = (x, torch.zeros(len(x) if x.ndim else 0))
    return samples_of(data).all_inputs("data")


def _order_of(loader: DataLoader) -> list[Any]:
    """The places of a loader's samples: each must come once, in the same order each time."""
    if isinstance(loader.dataset, IterableDataset):
        raise errors.DataError(
            "data: a loader needs a data set with a length and a fixed order; got an IterableDataset. "
            "Collect it into tensors (x, y) first."
        )
    num_samples = len(cast(Sized, loader.dataset))
    sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    order: list[Any] = list(range(num_samples))
    if not isinstance(sampler, SequentialSampler):
        draws = "Random" in type(sampler).__name__
        # Only a second look tells a sampler of the user's own with a fixed order from one that draws.
        batches = [] if draws else [list(loader.batch_sampler or loader.sampler) for _ in range(2)]
        if draws or batches[0] != batches[1]:
            raise errors.DataError(
                f"data: a loader must not shuffle, for scores belong to places; got {type(sampler).__name__}. "
                "Make the loader with shuffle=False."
            )
        order = [i for batch in batches[0] for i in (batch if isinstance(batch, (list, tuple)) else [batch])]
        if len(set(order)) != len(order):
            raise errors.DataError(
                f"data: a loader must give each sample once; got {len(order)} of which {len(set(order))} differ, from "
                f"{type(sampler).__name__}. Pass the data set itself."
            )
    batch_size = loader.batch_size or 1
    if loader.drop_last and len(order) % batch_size:
        raise errors.DataError(
            f"data: a loader must give every sample; got drop_last=True, which leaves {len(order) % batch_size} out. "
            "Make the loader with drop_last=False."
        )
    return order


def _fields(item: Any) -> dict[str, Any]:
    """A tuple or dict as fields by name: x, y, ids, texts, or a metadata name."""
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        return dict(zip(("x", "y", "ids"), item, strict=False))
    if isinstance(item, Mapping):
        roles = {key: role for role, keys in ROLES.items() for key in keys}
        fields: dict[str, Any] = {}
        for key, value in item.items():
            name = roles.get(key, str(key))
            if name in fields:
                raise errors.DataError(f"data: one key must stand for {name}; got {key!r} as well. Rename one of them.")
            fields[name] = value
        if "x" in fields and "y" in fields:
            return fields
        todo = TOKENIZE if "texts" in fields and "x" not in fields else "Rename the keys."
        raise errors.DataError(
            f"data: a dict must have x ({', '.join(ROLES['x'])}) and y ({', '.join(ROLES['y'])}); "
            f"got {', '.join(map(repr, item))}. {todo}"
        )
    got = f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
    raise errors.DataError(f"data: a sample must be (x, y), (x, y, id) or a dict; got {got}. Return such a tuple.")


READING = (EOFError, LookupError, OSError, ValueError)
"""What a sample that can't be read raises; other errors are of the data set's code, and stay as they are."""


def _told(items: Iterator[Any], what: str) -> Iterator[Any]:
    """The same items; where one can't be read, its place is told."""
    for place in itertools.count():
        try:
            item = next(items)
        except StopIteration:
            return
        except errors.InfotorchError:
            raise
        except READING as error:
            last = [line for line in str(error).splitlines() if line.strip()][-1:]  # a worker's holds its whole trace
            raise errors.DataError(
                f"data: every {what} of the data set must be readable; got {type(error).__name__} for {what} {place}"
                f"{''.join(f' ({shown(line.strip(), 200)})' for line in last)}. Repair it, or leave it out."
            ) from error
        yield item


def _collected(
    items: Iterator[Any], *, batched: bool, inputs: tuple[Scan, Callable[..., Iterator[Tensor]]] | None = None
) -> Samples:
    """Samples from their items, or from their batches, in order; ``inputs`` are looked at, not kept, where given."""
    columns: dict[str, list[Any]] = {}
    for place, item in enumerate(_told(items, "batch" if batched else "sample")):
        fields = _fields(item)
        if place and set(fields) != set(columns):
            raise errors.DataError(
                f"data: all samples must have the same fields, {', '.join(columns)}; got {', '.join(fields)} in "
                f"item {place}. Make them equal."
            )
        for name, value in fields.items():
            column = columns.setdefault(name, [])
            if name in ("x", "y"):
                value = _tensor(name, value, place)
                value = value if batched else value[None]
                if name == "x" and inputs is not None:
                    inputs[0].add(value)
                    continue
                if column and value.shape[1:] != column[0].shape[1:]:
                    raise errors.DataError(
                        f"data: {name} must have one shape in all samples, {list(column[0].shape[1:])}; got "
                        f"{list(value.shape[1:])} in item {place}. Pad or crop the samples."
                    )
                column.append(value)
            else:
                column.extend(_values(value) if batched else [_scalar(value)])
    if not columns:
        raise errors.DataError("data: there must be at least one sample; got none. Look at how they are selected.")
    x = columns.pop("x")
    tensors = {"x": torch.cat(x) if inputs is None else inputs[0].inputs(inputs[1]), "y": torch.cat(columns.pop("y"))}
    fields = {**tensors, **{name: columns.pop(name) for name in ("ids", "texts") if name in columns}}
    return _of_fields(fields, columns)


def _of_fields(fields: dict[str, Any], metadata: Mapping[str, Any]) -> Samples:
    x = fields["x"] if isinstance(fields["x"], StreamedInputs) else _tensor("x", fields["x"], 0).detach()
    y = _tensor("y", fields["y"], 0)
    if not y.is_floating_point() and not y.dtype.is_complex:
        y = y.long()
    ids = fields.get("ids")
    return Samples(
        x=x,
        y=y.detach(),
        ids=tuple(map(str, range(len(x)) if ids is None else _values(ids))) if x.ndim else (),
        texts=tuple(_values(fields["texts"])) if "texts" in fields else None,
        metadata={name: _column(name, values) for name, values in metadata.items()},
    )


def _column(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:  # lists of different length
        raise errors.DataError(
            f"data: metadata must be one value a sample; got lists of different length for {shown(name)}. "
            "Leave it out of the samples."
        ) from error


def _tensor(name: str, value: Any, place: int) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
        raise errors.DataError(
            f"data: {name} must be a tensor or an array of numbers; got {got} in item {place}. "
            "Convert it, for pictures with torchvision.transforms.ToTensor()."
        ) from error


def _values(column: Any) -> list[Any]:
    """A batch's values as plain Python objects."""
    return [_scalar(value) for value in (column.tolist() if isinstance(column, (Tensor, np.ndarray)) else column)]


def _scalar(value: Any) -> Any:
    """A tensor or NumPy scalar as a plain Python object; others as they are."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        if value.ndim:
            raise errors.DataError(
                f"data: beside x and y there must be one value a sample; got {shown(str(tuple(value.shape)))}. "
                "Leave it out of the sample."
            )
        return value.item()
    return value
