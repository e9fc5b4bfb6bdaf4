"""From what stands on a command line to samples."""

from collections.abc import Callable
from pathlib import Path

from infotorch import errors
from infotorch.data.npz import read_npz
from infotorch.data.samples import Samples

READERS: dict[str, Callable[[Path], Samples]] = {
    "npz": read_npz,
}
"""Readers by file ending, which is also the name to put before a colon."""


def read(spec: str | Path) -> Samples:
    """The samples that ``spec`` names.

    Args:
        spec: A path, whose ending chooses the reader ("digits.npz"), or a reader and a path ("npz:digits.data").

    Returns:
        The samples, checked.

    Raises:
        ConfigError: No such reader; the text names the nearest one.
        DataError: What the reader refuses.
    """
    text = str(spec)
    name, colon, rest = text.partition(":")
    if colon and (name in READERS or not Path(text).exists()):
        if name not in READERS:
            raise errors.unknown("read", "reader", name, READERS)
        return READERS[name](Path(rest))
    ending = Path(text).suffix.lstrip(".").lower()
    if ending not in READERS:
        raise errors.unknown("read", f"the ending of {text!r}", ending, READERS)
    return READERS[ending](Path(text))
