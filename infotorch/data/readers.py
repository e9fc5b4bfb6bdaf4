"""From what stands on a command line to samples."""

from collections.abc import Callable
from pathlib import Path

from infotorch import errors
from infotorch.data.csv import read_csv
from infotorch.data.folder import read_folder
from infotorch.data.npy import read_npy
from infotorch.data.npz import read_npz
from infotorch.data.parquet import read_parquet
from infotorch.data.samples import Samples

READERS: dict[str, Callable[[Path], Samples]] = {
    "npz": read_npz,
    "npy": read_npy,
    "folder": read_folder,
    "parquet": read_parquet,
    "csv": read_csv,
}
"""Readers by file ending, which is also the name to put before a colon; ``folder`` reads paths that are folders."""


def read(spec: str | Path) -> Samples:
    """The samples that ``spec`` names.

    Args:
        spec: A path, whose ending chooses the reader ("digits.npz"); a folder of pictures, one folder a class
            ("pets/train"); or a reader and a path ("npz:digits.data", "npy:digits").

    Returns:
        The samples, checked.

    Raises:
        ConfigError: No such reader; the text names the nearest one.
        DataError: What the reader refuses.
        MissingExtraError: There are pictures, and no Pillow.
    """
    text = str(spec)
    name, colon, rest = text.partition(":")
    if colon and (name in READERS or not Path(text).exists()):
        errors.check_choice("read", "reader", name, READERS)
        return READERS[name](Path(rest))
    if Path(text).is_dir():
        return read_folder(Path(text))
    ending = Path(text).suffix.lstrip(".").lower()
    if ending not in READERS or ending == "folder":
        files = [name for name in READERS if name != "folder"]
        raise errors.unknown("read", f"the ending of {text!r}, which is no folder,", ending, files)
    return READERS[ending](Path(text))
