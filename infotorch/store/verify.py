"""Is a run what its manifest says?"""

from pathlib import Path

from infotorch import errors
from infotorch.store.files import LOCK, TEMPORARY, file_hash
from infotorch.store.manifest import MANIFEST, damaged, decoded
from infotorch.store.run import Run
from infotorch.store.shards import rows_of, scores_of, specs_of
from infotorch.store.writer import FOLDERS


def verify(path: str | Path) -> list[str]:
    """Compares every file of the finished run in ``path`` with its manifest, and reads them all.

    Reports beside the run (``*.html`` in its folder) are not part of it.

    Returns:
        The files that were checked, relative to ``path``.

    Raises:
        StoreError: A file is missing, damaged, or not of the run, or rows are missing; the text names it.
    """
    run = Run(path)
    if not run.manifest["complete"]:
        missing = [rows for rows in run.ranges() if rows not in run.done()]
        got = f"no scores for rows [{missing[0][0]}, {missing[0][1]})" if missing else "one that was stopped"
        raise errors.StoreError(
            f"verify: {run.path} must be a finished run; got {got}. "
            "Run the same command again: it goes on where it stopped."
        )
    listed: dict[str, str] = run.manifest["files"]
    for name, sha256 in listed.items():
        file = run.path / name
        if file_hash("verify", file) != sha256:
            raise damaged("verify", file, "content of another hash")
        if file.suffix == ".json":
            decoded("verify", file)
    _check_foreign(run, {MANIFEST, LOCK, *listed})
    for table in ("scores", "samples"):
        for shard in run.shards(table):
            if shard.file.relative_to(run.path).as_posix() not in listed:
                if table == "samples":
                    continue
                raise damaged("verify", run.path / MANIFEST, f"no {shard.file.name} of {table} in it")
            rows = shard.read("verify")
            if rows["index"].to_pylist() != list(range(shard.start, shard.stop)):
                raise damaged("verify", shard.file, f"rows that are not [{shard.start}, {shard.stop})")
            if table == "scores":
                scores = scores_of(rows, run.manifest["columns"], run.manifest["main"])
                if specs_of(scores) != run.manifest["columns"] or not rows_of(scores).schema.equals(
                    rows.schema, check_metadata=True
                ):
                    raise damaged("verify", shard.file, "columns that are not the manifest's")
    return [MANIFEST, *listed]


def _check_foreign(run: Run, known: set[str]) -> None:
    for file in sorted(run.path.rglob("*")):
        name = file.relative_to(run.path).as_posix()
        beside = "/" not in name and file.suffix == ".html"
        if name in known or beside or (file.is_dir() and name in FOLDERS):
            continue
        todo = "Run the same command again." if file.suffix == TEMPORARY else "Move it elsewhere."
        raise errors.StoreError(f"verify: {run.path} must hold the run alone; got {file}. {todo}")
