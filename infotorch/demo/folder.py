"""Where a demo writes."""

import pathlib

from infotorch.errors import StoreError

__all__ = ["free_folder"]


def free_folder(out: str | pathlib.Path) -> pathlib.Path:
    """The folder for a demo's run and report.

    Raises:
        StoreError: It is a run itself.
    """
    out = pathlib.Path(out)
    if (out / "manifest.json").exists():
        raise StoreError(f"demo: {out} must be free for the demo's folder; got a run. Give another --out.")
    return out
