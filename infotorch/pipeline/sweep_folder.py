"""A sweep on disk: its settings, and one file a cell, which is there whole or not at all."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infotorch import errors
from infotorch.pipeline.sweep_cells import WHERE, Measured, SweepCell, SweepRow
from infotorch.store.files import LOCK, TEMPORARY, refusals, write_bytes
from infotorch.store.manifest import damaged, decoded, encoded, first_difference, plain

__all__ = ["SCHEMA_VERSION", "WORK", "SweepFolder", "make_folder", "read_folder"]

SCHEMA_VERSION = 1
SETTINGS, CELLS, WORK = "sweep.json", "cells", "work" + TEMPORARY
REMEDY = "Delete it and run the same command again: it trains the missing cells only."


@dataclass(frozen=True, kw_only=True)
class SweepFolder:
    """A folder with ``sweep.json`` and ``cells/corruption=...,beta=...,seed=....json``, each with its digest."""

    path: Path
    settings: dict[str, Any]
    """What every row follows from, besides beta, corruption and seed."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings: a cell with another one belongs to another sweep."""
        return hashlib.sha256(encoded(self.settings, sort_keys=True)).hexdigest()

    @classmethod
    def begun(cls, path: Path, settings: dict[str, Any]) -> "SweepFolder":
        """The folder of these settings, begun or gone on with, which its writer has locked.

        Raises:
            StoreError: It holds a sweep of others; the text names the first that differs.
        """
        with refusals("store", path):
            for leftover in path.glob(f"**/*{TEMPORARY}"):
                leftover.unlink()
            (path / CELLS).mkdir(exist_ok=True)
        if not (path / SETTINGS).exists():
            write_bytes(path / SETTINGS, encoded(settings, sort_keys=False))
            return cls(path=path, settings=settings)
        found = first_difference(read_folder(path).settings, settings, "")
        if found is not None:
            place, before, now = found
            raise errors.StoreError(
                f"store: {path} must hold cells of the same sweep; got {place} = {now!r}, where it was begun with "
                f"{before!r}. Choose another folder, or the old settings; betas, corruptions and seeds may be others."
            )
        return cls(path=path, settings=settings)

    def path_of(self, cell: SweepCell) -> Path:
        """Where the cell is, or will be."""
        return self.path / CELLS / f"{cell.name}.json"

    def cells(self) -> list[SweepCell]:
        """Those that are there, in order."""
        with refusals("open", self.path):
            return sorted(SweepCell.named(file.stem) for file in (self.path / CELLS).glob("*.json"))

    def write(self, cell: SweepCell, measured: Measured) -> None:
        """Keeps the cell.

        Raises:
            StoreError: The system refuses; nothing is left of the cell.
        """
        row = plain(measured.row.as_dict(), WHERE)
        content = {"row": row, "seconds": measured.seconds, "sweep": self.digest, "digest": self._digest_of(row)}
        write_bytes(self.path_of(cell), encoded(content, sort_keys=False))

    def read(self, cell: SweepCell) -> SweepRow:
        """The cell's row.

        Raises:
            StoreError: It is missing, damaged, altered, or of another sweep; the text names it.
        """
        path = self.path_of(cell)
        found = decoded("open", path)
        if not isinstance(found, dict) or not {"row", "sweep", "digest"} <= found.keys():
            raise errors.StoreError(f"open: {path} must be a cell; got what is none. {REMEDY}")
        if found["sweep"] != self.digest:
            raise errors.StoreError(f"open: {path} must be a cell of the sweep beside it; got another's. {REMEDY}")
        if found["digest"] != self._digest_of(found["row"]):
            raise errors.StoreError(f"open: {path} must be as it was written; got content of another hash. {REMEDY}")
        return SweepRow(**found["row"])

    def _digest_of(self, row: dict[str, Any]) -> str:
        return hashlib.sha256(self.digest.encode() + encoded(row, sort_keys=True)).hexdigest()


def make_folder(out: str | Path) -> Path:
    """The folder, made where it isn't there.

    Raises:
        StoreError: It holds something else than a sweep, or the system refuses.
    """
    path = errors.path_of("sweep_beta", "out", out)
    with refusals("store", path):
        if path.exists() and not path.is_dir():
            raise errors.StoreError(f"store: out must be a folder; got the file {path}. Choose another path.")
        path.mkdir(parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in path.iterdir()} - {LOCK, SETTINGS + TEMPORARY})
    if foreign and SETTINGS not in foreign:
        raise errors.StoreError(
            f"store: out must be a new or empty folder, or one of a sweep; got {path}, which holds {foreign[0]!r} and "
            f"no {SETTINGS}. Choose another folder."
        )
    return path


def read_folder(out: str | Path) -> SweepFolder:
    """The sweep in a folder.

    Raises:
        StoreError: There is none, or its settings are damaged.
    """
    path = Path(out) / SETTINGS
    if not path.is_file():
        raise errors.StoreError(f"open: {out} must be a folder of a sweep; got no {SETTINGS}. Check the path.")
    found = decoded("open", path)
    if not isinstance(found, dict) or not {"schema_version", "num_samples", "num_classes"} <= found.keys():
        raise damaged("open", path, "what is no sweep's settings")
    if found["schema_version"] != SCHEMA_VERSION:
        raise errors.StoreError(
            f"open: {path} must have schema_version {SCHEMA_VERSION}; got {found['schema_version']}. Update infotorch."
        )
    return SweepFolder(path=Path(out), settings=found)
