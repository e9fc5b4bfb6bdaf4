"""The reader of folders of .npy files: ``x.npy``, ``y.npy``, and what else is known of the samples."""

from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.data.arrays import samples_of_arrays
from infotorch.data.samples import Samples

MAPPED = ("x", "images")


def read_npy(path: Path) -> Samples:
    """The samples in a folder of .npy files.

    ``x`` and ``images`` are mapped into memory, not loaded: pages come from the disk as they are used, and what changes
    the tensor doesn't change the file. So leave the files as they are while the samples are in use.

    Args:
        path: A folder with ``x.npy`` [N, ...] and ``y.npy`` [N] or [N, C], and, where known, the other arrays that
            ``read_npz`` takes, each in a file of its name: ``ids.npy``, ``label_names.npy``, ``images.npy``,
            ``texts.npy``; any other .npy file [N] is metadata. Files of other endings are left alone.

    Returns:
        The samples, checked.

    Raises:
        DataError: No such folder, a file that is damaged or holds Python objects (pickles are never loaded), ``x`` or
            ``y`` missing, or what Samples refuses.
    """
    if not path.is_dir():
        got = f"the file {path}" if path.exists() else f"{path}, which does not exist"
        todo = f"Give npy:{path.parent}." if path.exists() else "Correct the path."
        raise errors.DataError(f"read: .npy arrays must lie in a folder, as x.npy and y.npy; got {got}. {todo}")
    arrays = {file.stem: _array(file) for file in sorted(path.glob("*.npy"))}
    return samples_of_arrays(path, arrays, 'np.save("x.npy", x) and np.save("y.npy", y) in that folder')


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="c" if path.stem in MAPPED else None, allow_pickle=False)
    except OSError as error:
        raise errors.DataError(f"read: {path} must be readable; got {error.strerror or error}. Look at it.") from error
    except (ValueError, EOFError) as error:
        raise errors.DataError(
            f"read: {path} must be a whole array of plain numbers or text; got Python objects or damaged bytes. "
            "Save an array of numbers or str with np.save; pickles are never loaded."
        ) from error
    if not isinstance(array, np.ndarray):
        raise errors.DataError(f"read: {path} must be one array; got an .npz file. Rename it, and give npz:PATH.")
    return array
