"""Samples from arrays with names, as .npz files and folders of .npy files hold them."""

from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.data.samples import Samples
from infotorch.data.sources import samples_of

TEXTS = ("ids", "label_names", "texts")


def samples_of_arrays(path: Path, arrays: dict[str, np.ndarray], save: str) -> Samples:
    """The samples in ``arrays``, which were read from ``path``.

    Args:
        path: Where they come from, for messages.
        arrays: ``x`` [N, ...] and ``y`` [N] or [N, C], and, where known, ``ids`` [N], ``label_names``, ``images``
            (uint8 [N, H, W] or [N, H, W, 3]) and ``texts`` [N]; any other array [N] is metadata.
        save: How ``x`` and ``y`` are written, for messages.

    Returns:
        The samples, checked; ``x`` is the array's own memory.

    Raises:
        DataError: ``x`` or ``y`` missing, texts that are none, or what Samples refuses.
    """
    for name in ("x", "y"):
        if name not in arrays:
            raise errors.DataError(
                f"read: {path} must hold arrays x and y; got {', '.join(arrays) or 'none'}. Save it with {save}."
            )
    for name in TEXTS:
        if name in arrays and (arrays[name].ndim != 1 or arrays[name].dtype.kind not in "Uiu"):
            raise errors.DataError(
                f"read: {name} of {path} must be text [N]; got {arrays[name].dtype} {list(arrays[name].shape)}. "
                "Save it as an array of str."
            )
    arrays = dict(arrays)
    plain = samples_of((arrays.pop("x"), arrays.pop("y")))
    texts = {name: tuple(map(str, arrays.pop(name).tolist())) for name in TEXTS if name in arrays}
    return Samples(
        x=plain.x,
        y=plain.y,
        ids=texts.get("ids", plain.ids),
        label_names=texts.get("label_names"),
        texts=texts.get("texts"),
        images=arrays.pop("images", None),
        metadata=arrays,
    )
