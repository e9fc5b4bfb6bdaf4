"""A run on disk, to be read: its manifest, scores, samples and notes."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from infotorch import errors
from infotorch.store.files import read_bytes
from infotorch.store.manifest import damaged, decoded, read_manifest
from infotorch.store.shards import Shard, row_ranges, scores_of, shards
from infotorch.table import Scores


class Run:
    """A run's folder, read only. Every file's hash is compared before its content is used.

    Args:
        path: The folder.

    Raises:
        StoreError: There is no run, its manifest is damaged, or a newer infotorch wrote it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: dict[str, Any] = read_manifest("open", self.path)

    def ranges(self) -> list[tuple[int, int]]:
        """Rows [start, stop) of every shard, in order."""
        return row_ranges(self.manifest["rows"], self.manifest["shard_size"])

    def done(self) -> set[tuple[int, int]]:
        """Rows [start, stop) of the shards whose scores are there."""
        return {(shard.start, shard.stop) for shard in self.shards("scores") if shard.there}

    def shards(self, table: str) -> list[Shard]:
        """The shards of "scores" or "samples" that a whole run has."""
        return list(shards(self.path, table, self.manifest["rows"], self.manifest["shard_size"]))

    @property
    def finished(self) -> bool:
        """Whether every file that the whole run had is there and nothing is left to be computed or written."""
        listed = all((self.path / name).exists() for name in self.manifest["files"])
        return bool(self.manifest["complete"]) and listed and len(self.done()) == len(self.ranges())

    def has(self, table: str) -> bool:
        """Whether shards of "scores" or "samples" are there, or were when the run was whole."""
        return any(name.startswith(f"{table}/") for name in self.manifest["files"]) or any(
            shard.record.exists() for shard in self.shards(table)
        )

    def scores(self) -> Scores:
        """All scores.

        Raises:
            StoreError: The run is not finished, or a shard is missing or damaged; the text names rows or file.
        """
        self._check_whole("scores")
        rows = pa.concat_tables(shard.read("open") for shard in self.shards("scores"))
        return scores_of(rows, self.manifest["columns"], self.manifest["main"])

    def samples(self, columns: list[str] | None = None) -> pa.Table:
        """What is known of the samples beside their scores.

        Args:
            columns: The names to read; default all. Pictures are by far the largest.

        Returns:
            One row a sample, in the order of the scores: index, id, label, label_name, image (uint8 bytes, rows first,
            channels last), height, width, channels, text, then metadata. Of a run without samples only the index.

        Raises:
            StoreError: The run is not finished, or a shard is damaged; the text names rows or file.
        """
        if not self.has("samples"):
            return pa.table({"index": pa.array(range(self.manifest["rows"]), pa.int64())})
        self._check_whole("samples")
        return pa.concat_tables(shard.read("open", columns) for shard in self.shards("samples"))

    def sample_columns(self) -> list[str]:
        """The names of the columns that ``samples`` returns.

        Raises:
            StoreError: The run is not finished, or a shard is damaged; the text names rows or file.
        """
        if not self.has("samples"):
            return ["index"]
        self._check_whole("samples")
        return self.shards("samples")[0].names("open")

    def _check_whole(self, table: str) -> None:
        for shard in self.shards(table):
            if not shard.record.exists():
                raise errors.StoreError(
                    f"open: {self.path} must be finished; got no {table} for rows [{shard.start}, {shard.stop}). "
                    "Run the same command again: it goes on where it stopped."
                )

    def note_files(self) -> list[Path]:
        """The files of the notes, by name."""
        return sorted((self.path / "notes").glob("*.json"))

    def checkpoint_files(self) -> list[Path]:
        """The files of trained weights, by name; what a training goes on from is none of them."""
        return sorted(path for path in (self.path / "checkpoints").glob("*.pt") if path != self.training_file)

    @property
    def training_file(self) -> Path:
        """What an interrupted training goes on from; a finished run has none."""
        return self.path / "checkpoints" / "training.pt"

    def notes(self) -> dict[str, Any]:
        """What the report shows besides scores, by name.

        Raises:
            StoreError: A note is damaged; the text names its file.
        """
        listed = self.manifest["files"] if self.manifest["complete"] else {}
        for file in self.note_files():
            name = file.relative_to(self.path).as_posix()
            if name in listed and hashlib.sha256(read_bytes("open", file)).hexdigest() != listed[name]:
                raise damaged("open", file, "content of another hash")
        return {file.stem: decoded("open", file) for file in self.note_files()}


def open_run(path: str | Path) -> Run:
    """The run in the folder ``path``, read only.

    Raises:
        StoreError: There is no run, its manifest is damaged, or a newer infotorch wrote it.
    """
    return Run(path)
