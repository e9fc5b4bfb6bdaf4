"""The reader of .npz files: arrays ``x`` and ``y``, and what else is known of the samples."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.data.arrays import samples_of_arrays
from infotorch.data.samples import Samples, shown


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
    return samples_of_arrays(path, _arrays(path), "np.savez(path, x=..., y=...)")


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
