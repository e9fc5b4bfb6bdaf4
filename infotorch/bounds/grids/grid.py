"""A grid of training runs on disk: one file a cell, which is there whole or not at all."""

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.bounds.grids.plan import Plan
from infotorch.store.files import TEMPORARY, locked, read_bytes, refusals, write_bytes
from infotorch.store.manifest import damaged, decoded, encoded, first_difference

__all__ = ["Cell", "Grid"]

SCHEMA_VERSION = 1
PLAN, LABELS, CELLS, SHARDS, PLANNER = "plan.json", "labels.npy", "cells", "shards", "plan"
UNREADABLE = (ValueError, KeyError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What NumPy and zipfile raise of damaged bytes, wherever the damage is."""
MOST_CLASSES = 46_340  # C² states of a pair are counted in int32
REMEDY = "Delete it and call run again: it trains the missing cells only."


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """What one run predicted for both items of every pair."""

    labels: np.ndarray | None
    """[T, n, 2], the predicted labels at each of T checkpoints; ``None`` where the learner gave losses alone."""
    losses: np.ndarray | None
    """float32 [T, n, 2], losses in [0, 1]; ``None`` where the learner gave labels alone."""
    seconds: float
    """What the run took."""
    versions: str
    """Of what trained it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A folder with a plan, the labels of its pool, and the cells that are trained so far.

    A plan can be extended: supersamples, masks and seeds follow from the other fields, so one with another K1 or K2 has
    the same cells as far as both go, whatever the masks' design. The folder's plan is the last one that was planned or
    run. Cells that a smaller one doesn't have stay where they are, for when a larger one comes back; estimates are
    of the plan's own cells, and tell how many others are there.

    ``plan.json`` holds the plan and what the runs are of, ``labels.npy`` the pool's labels, ``cells/k1=…/k2=….npz`` the
    predictions of one run each, with the digests of what they are of and of their content.
    """

    path: Path
    """The folder."""
    plan: Plan
    """What is to be trained."""
    labels: np.ndarray | None = field(repr=False)
    """int64 [pool_size]; ``None`` before the first run."""
    num_classes: int
    """C; 0 before the first run."""
    checkpoints: tuple[int, ...]
    """Epochs after which predictions are kept; empty where only those of the trained network are."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of plan, labels, classes and checkpoints."""
        return hashlib.sha256(encoded(self._head(), sort_keys=True)).hexdigest()

    @cached_property
    def cells_digest(self) -> str:
        """The same without K1 and K2, of which no cell knows: a cell with another one belongs to other runs."""
        head = self._head() | {"plan": self.plan.drawn_from()}
        return hashlib.sha256(encoded(head, sort_keys=True)).hexdigest()

    @cached_property
    def labels_digest(self) -> str:
        """SHA-256 of the pool's labels: two grids with the same are over one pool."""
        labels = np.empty(0) if self.labels is None else self.labels
        return hashlib.sha256(np.ascontiguousarray(labels, np.int64).tobytes()).hexdigest()

    @property
    def pair_labels(self) -> np.ndarray:
        """int64 [K1, n, 2]: the labels of the supersamples' items."""
        if self.labels is None:
            raise errors.StoreError(f"bounds: {self.path} must have been run; got a plan alone. Call run first.")
        return self.labels[self.plan.supersamples]

    def cell_path(self, k1: int, k2: int) -> Path:
        return self.path / CELLS / f"k1={k1}" / f"k2={k2}.npz"

    def done(self) -> np.ndarray:
        """Of each cell, [K1, K2]: is it there?"""
        with refusals("open", self.path):
            return np.array(
                [[self.cell_path(k1, k2).exists() for k2 in range(self.plan.K2)] for k1 in range(self.plan.K1)], bool
            )

    def num_beyond(self) -> int:
        """How many cells of the folder the plan doesn't have, where one with a larger K1 or K2 was run before."""
        with refusals("open", self.path):
            return len(list((self.path / CELLS).glob("k1=*/k2=*.npz"))) - int(self.done().sum())

    def write(self, k1: int, k2: int, cell: Cell, *, temporary: Path) -> None:
        """Keeps the cell; ``temporary`` is a folder of this writer's own, on the same disk.

        Raises:
            StoreError: The system refuses; nothing is left of the cell.
        """
        arrays: dict[str, np.ndarray] = {"mask": self.plan.masks[k1, k2]}
        if cell.labels is not None:
            arrays["labels"] = cell.labels.astype(np.int16 if self.num_classes <= 2**15 else np.int32)
        if cell.losses is not None:
            arrays["losses"] = cell.losses.astype(np.float32)
        if not self.checkpoints:  # [n, 2], without an axis of one checkpoint
            arrays = {name: values if name == "mask" else values[0] for name, values in arrays.items()}
        content: dict[str, Any] = {
            **arrays,
            "seed": np.int64(self.plan.run_seeds[k1, k2]),
            "grid": self.cells_digest,
            "digest": _digest(self.cells_digest, k1, k2, arrays),
            "seconds": cell.seconds,
            "versions": cell.versions,
        }
        buffer = io.BytesIO()
        np.savez(buffer, **content)
        path = self.cell_path(k1, k2)
        with refusals("store", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue(), temporary=temporary / (f"{k1}-{k2}" + TEMPORARY))

    def read(self, k1: int, k2: int) -> Cell:
        """The cell.

        Raises:
            StoreError: It is missing, damaged, altered, or of another grid; the text names it.
        """
        path = self.cell_path(k1, k2)
        data = read_bytes("open", path)
        try:
            with np.load(io.BytesIO(data)) as file:
                content = {name: file[name] for name in file.files}
            digest, grid, mask = str(content["digest"]), str(content["grid"]), content["mask"]
            seconds, versions = float(content["seconds"]), str(content["versions"])
        except UNREADABLE as error:
            raise errors.StoreError(f"open: {path} must be a cell; got what is none. {REMEDY}") from error
        # The first cells that were ever written have the digest with K1 and K2.
        if grid not in (self.cells_digest, self.digest) or not np.array_equal(mask, self.plan.masks[k1, k2]):
            raise errors.StoreError(
                f"open: {path} must be a cell of the plan beside it; got one of another plan, or other labels. {REMEDY}"
            )
        arrays = {name: content[name] for name in ("mask", "labels", "losses") if name in content}
        if digest != _digest(grid, k1, k2, arrays):
            raise errors.StoreError(f"open: {path} must be as it was written; got content of another hash. {REMEDY}")
        found = {name: values if self.checkpoints else values[None] for name, values in arrays.items()}
        return Cell(labels=found.get("labels"), losses=found.get("losses"), seconds=seconds, versions=versions)

    def _head(self) -> dict[str, Any]:
        pool = None
        if self.labels is not None:
            pool = {
                "labels_sha256": self.labels_digest,
                "num_classes": self.num_classes,
                "checkpoints": list(self.checkpoints),
            }
        return {"schema_version": SCHEMA_VERSION, "plan": self.plan.fields(), "pool": pool}


def write_plan(path: str | Path, plan: Plan) -> Grid:
    """The folder for a plan's runs, made; in one of a plan that differs in K1 and K2 alone it takes that one's place.

    Raises:
        StoreError: The folder holds something else, or the system refuses.
    """
    folder = Path(path)
    if (folder / PLAN).exists():
        old = read_grid(folder)
        grid = replace(old, plan=plan)
        _check_same(folder, old.plan.drawn_from(), plan.drawn_from())
        with locked(own := writers_folder(folder, PLANNER)):
            _replace_plan(old, grid, temporary=own)
        return grid
    _make_folder(folder)
    grid = Grid(path=folder, plan=plan, labels=None, num_classes=0, checkpoints=())
    write_bytes(folder / PLAN, encoded(grid._head(), sort_keys=False))
    return grid


def _replace_plan(old: Grid, new: Grid, *, temporary: Path) -> None:
    """Cells that have the digest with K1 and K2 are written anew first, for nobody knows these numbers afterwards."""
    if old.plan == new.plan:
        return
    for k1, k2 in np.argwhere(old.done()).tolist():
        old.write(k1, k2, old.read(k1, k2), temporary=temporary)
    write_bytes(new.path / PLAN, encoded(new._head(), sort_keys=False), temporary=temporary / (PLAN + TEMPORARY))


def is_begun(path: str | Path) -> bool:
    """Whether there is a plan in the folder."""
    return (Path(path) / PLAN).exists()


def writers_folder(path: str | Path, writer: str) -> Path:
    """A folder inside of the grid's for one writer's lock and its unfinished files, made.

    Raises:
        StoreError: The grid's folder holds something else, or the system refuses.
    """
    folder = Path(path)
    own = folder / SHARDS / writer
    if not (folder / PLAN).exists():
        _make_folder(folder)
    with refusals("store", own):
        own.mkdir(parents=True, exist_ok=True)
    return own


def begin(
    path: str | Path, plan: Plan, *, labels: np.ndarray, num_classes: int, checkpoints: Sequence[int], temporary: Path
) -> Grid:
    """The grid of these runs, begun or gone on with; ``temporary`` is a folder that this writer has locked.

    Where the folder's plan has another K1 or K2, this one takes its place.

    Raises:
        StoreError: The folder holds runs of another plan, pool or learner's checkpoints (the text names the first field
            that differs), or the system refuses.
    """
    folder = Path(path)
    grid = Grid(path=folder, plan=plan, labels=labels, num_classes=num_classes, checkpoints=tuple(checkpoints))
    with refusals("store", temporary):
        for leftover in temporary.glob(f"*{TEMPORARY}"):
            leftover.unlink()
    if (folder / PLAN).exists():
        old = read_grid(folder)
        _check_same(folder, old.plan.drawn_from(), plan.drawn_from())
        if old.labels is not None:
            _check_same(folder, {"pool": old._head()["pool"]}, {"pool": grid._head()["pool"]})
            _replace_plan(old, grid, temporary=temporary)
            return grid
    buffer = io.BytesIO()
    np.save(buffer, labels)
    write_bytes(folder / LABELS, buffer.getvalue(), temporary=temporary / (LABELS + TEMPORARY))
    write_bytes(folder / PLAN, encoded(grid._head(), sort_keys=False), temporary=temporary / (PLAN + TEMPORARY))
    return grid


def read_grid(path: str | Path) -> Grid:
    """The grid in a folder.

    Raises:
        StoreError: There is none, or it is damaged.
    """
    folder = Path(path)
    head = _head_of(folder)
    pool = head["pool"]
    try:
        plan = Plan(**head["plan"])
        num_classes, checkpoints = (0, ()) if pool is None else (int(pool["num_classes"]), tuple(pool["checkpoints"]))
    except (TypeError, KeyError, ValueError) as error:
        raise damaged("open", folder / PLAN, f"what is no plan ({error})") from error
    if pool is None:
        return Grid(path=folder, plan=plan, labels=None, num_classes=0, checkpoints=())
    file = folder / LABELS
    data = read_bytes("open", file)
    try:
        labels = np.load(io.BytesIO(data))
    except UNREADABLE as error:
        raise damaged("open", file, f"what is no array ({error})") from error
    grid = Grid(path=folder, plan=plan, labels=labels, num_classes=num_classes, checkpoints=checkpoints)
    if grid._head()["pool"] != pool or labels.shape != (plan.pool_size,):
        raise damaged("open", file, "content of another hash")
    return grid


def _head_of(folder: Path) -> Any:
    path = folder / PLAN
    with refusals("open", path):
        if not path.is_file():
            got = "no plan.json" if folder.is_dir() else "no such folder"
            raise errors.StoreError(
                f"open: {folder} must be a folder of runs; got {got}. Check the path, or call run first."
            )
    head = decoded("open", path)
    if not isinstance(head, dict) or not {"schema_version", "plan", "pool"} <= head.keys():
        raise damaged("open", path, "what is no plan")
    if head["schema_version"] != SCHEMA_VERSION:
        raise errors.StoreError(
            f"open: {path} must have schema_version {SCHEMA_VERSION}; got {head['schema_version']}. Update infotorch."
        )
    return head


def _check_same(folder: Path, old: Any, new: Any) -> None:
    found = first_difference(old, new, "")
    if found is not None:
        place, before, now = found
        raise errors.StoreError(
            f"store: {folder} must hold runs of the same plan and pool; got {place} = {now!r}, where they were begun "
            f"with {before!r}. Choose another folder, or the old settings; K1 and K2 alone may be others."
        )


def _make_folder(folder: Path) -> None:
    with refusals("store", folder):
        if folder.exists() and not folder.is_dir():
            raise errors.StoreError(f"store: out must be a folder; got the file {folder}. Choose another path.")
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted({entry.name for entry in folder.iterdir()} - {SHARDS, LABELS, PLAN + TEMPORARY})
    if foreign and PLAN not in foreign:
        raise errors.StoreError(
            f"store: out must be a new or empty folder, or one of runs; got {folder}, which holds {foreign[0]!r} and "
            f"no {PLAN}. Choose another folder."
        )


def _digest(grid: str, k1: int, k2: int, arrays: dict[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256(f"{grid} {k1} {k2}".encode())
    for name, values in sorted(arrays.items()):
        sha256.update(f" {name} {values.dtype.str} {values.shape} ".encode())
        sha256.update(np.ascontiguousarray(values).tobytes())
    return sha256.hexdigest()
