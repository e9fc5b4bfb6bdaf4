"""The reader of .npz files: arrays ``x`` and ``y``, and what else is known of the samples."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.data.samples import Samples, shown
from infotorch.data.sources import samples_of


def read_npz(path: Path) -> Samples:
    """The samples in an .npz file.

    Args:
        path: A file with arrays ``x`` [N, ...] and ``y`` [N] or [N, C], and, where known, ``ids`` [N], ``label_names``,
            ``images`` (uint8 [N, H, W] or [N, H, W, 3]) and ``texts`` [N]; any other array [N] is metadata.

    Returns:
        The samples, checked.

    Raises:
        DataError: No such file, not an .npz file or a damaged one, Python objects in it (pickles are never loaded),
            ``x`` or ``y`` missing, or what Samples refuses.
    """
    arrays = _arrays(path)
    for name in ("x", "y"):
        if name not in arrays:
            raise errors.DataError(
                f"read: {path} must hold arrays x and y; got {', '.join(arrays) or 'none'}. "
                f"Save it with np.savez(path, x=..., y=...)."
            )
    for name in ("ids", "label_names", "texts"):
        if name in arrays and (arrays[name].ndim != 1 or arrays[name].dtype.kind not in "Uiu"):
            raise errors.DataError(
                f"read: {name} of {path} must be text [N]; got {arrays[name].dtype} {list(arrays[name].shape)}. "
                "Save it as an array of str."
            )
    plain = samples_of((arrays.pop("x"), arrays.pop("y")))
    texts = {
        name: tuple(map(str, arrays.pop(name).tolist())) for name in ("ids", "label_names", "texts") if name in arrays
    }
    return Samples(
        x=plain.x,
        y=plain.y,
        ids=texts.get("ids", plain.ids),
        label_names=texts.get("label_names"),
        texts=texts.get("texts"),
        images=arrays.pop("images", None),
        metadata=arrays,
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, by name."""
    name = ""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise errors.DataError(f"read: {path} must be an .npz file; got one array. Save it with np.savez.")
        arrays = {}
        with file:
            for name in file.files:
                arrays[name] = file[name]
                if not isinstance(arrays[name], np.ndarray):
                    raise errors.DataError(
                        f"read: {path} must hold arrays alone; got {shown(name)}, which is none. Take it out."
                    )
        return arrays
    except FileNotFoundError as error:
        raise errors.DataError(f"read: the file must exist; got {path}. Correct the path.") from error
    except OSError as error:
        raise errors.DataError(f"read: {path} must be readable; got {error.strerror or error}. Look at it.") from error
    except ValueError as error:
        if isinstance(error, errors.DataError):
            raise
        where = f"array {shown(name)} of {path}" if name else str(path)
        raise errors.DataError(
            f"read: {where} must hold plain numbers or text; got Python objects or damaged bytes. "
            "Save arrays of numbers or str with np.savez; pickles are never loaded."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise errors.DataError(
            f"read: {path} must be a whole .npz file; got {error}. Save or download it again."
        ) from error
