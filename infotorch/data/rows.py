"""Samples as an Arrow table: what a run keeps so that its report can show them."""

from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from infotorch.data.pictures import thumbnails
from infotorch.data.samples import Samples


def sample_rows(samples: Samples, start: int, stop: int, images: np.ndarray | None = None) -> pa.Table:
    """Rows ``start`` to ``stop`` (excluded) of ``samples``, with ``images`` of them where they have none of their own.

    Returns:
        Columns index (int64), id (text), label (int64, float64, or a list of float64 for targets [N, C]), label_name,
        image (its uint8 bytes, rows first, channels last), height, width, channels (int32), text, and the metadata
        under their own names. Pictures have at most 64 pixels on the long edge. What is not known is null.
    """
    rows = slice(start, stop)
    N = stop - start
    empty = {"label_name": pa.string(), "image": pa.binary(), "text": pa.string()}
    columns: dict[str, Any] = {
        "index": pa.array(np.arange(start, stop, dtype=np.int64)),
        "id": pa.array(samples.ids[rows], pa.string()),
        "label": _labels(samples.y[rows]),
        **{name: pa.nulls(N, kind) for name, kind in empty.items()},
        **{name: pa.nulls(N, pa.int32()) for name in ("height", "width", "channels")},
    }
    if samples.label_names is not None and samples.y.ndim == 1 and not samples.y.is_floating_point():
        names = samples.label_names
        columns["label_name"] = pa.array([names[label] for label in samples.y[rows].tolist()], pa.string())
    if samples.images is not None:
        images = samples.images[rows]
    if images is not None:
        images = thumbnails(images)
        shape = (*images.shape[1:], 1)[:3]
        columns["image"] = pa.array([image.tobytes() for image in images], pa.binary())
        for name, size in zip(("height", "width", "channels"), shape, strict=True):
            columns[name] = pa.array(np.full(N, size, dtype=np.int32))
    if samples.texts is not None:
        columns["text"] = pa.array(samples.texts[rows], pa.string())
    for name, values in samples.metadata.items():
        columns[name] = (
            pa.array(values[rows].tolist(), pa.string()) if values.dtype.kind == "U" else pa.array(values[rows])
        )
    order = ("index", "id", "label", "label_name", "image", "height", "width", "channels", "text", *samples.metadata)
    return pa.table({name: columns[name] for name in order})


def _labels(y: Tensor) -> pa.Array:
    y = y.detach().cpu()
    values = y.double().numpy() if y.is_floating_point() else y.long().numpy()
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float64).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.size // len(values))
