"""Many tasks embedded by one probe, each kept in a file of its own and not embedded again while it is the same."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from infotorch.data import samples_of
from infotorch.errors import StoreError
from infotorch.measures import Embedding, Progress, task_embedding
from infotorch.measures.digest import digest_of_model
from infotorch.pipeline.keeping import near
from infotorch.pipeline.provenance import outputs_digest, task_facts
from infotorch.store.files import LOCK, TEMPORARY, check_writable, locked, read_bytes, write_bytes
from infotorch.task import Task

__all__ = ["embed_tasks"]

SCHEMA = 1
BATCH = 256
NAMED = re.compile(r"\.[0-9a-f]{8}\.json$")
"""What the file of an embedding ends with."""


def embed_tasks(
    tasks: Mapping[str, Callable[[], tuple[Task, Any]]],
    *,
    out: str | Path | None = None,
    batch_size: int = BATCH,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[dict[str, Embedding], tuple[str, ...]]:
    """Each task's embedding; those that ``out`` holds are read from there as long as nothing they follow from changed.

    Args:
        tasks: Name -> what gives the task and its data, (x, y), a Dataset or a DataLoader of one fixed order; called
            one after the other, so that no two networks are in memory.
        out: Folder with a file for each, written whole or not at all; made where it is missing.
        batch_size: Samples of a batch; the last bits depend on it.
        progress: Called with ("tasks", done, total) after each.
        **options: Of :func:`infotorch.task_embedding`: ``probe_layers`` and others.

    Returns:
        The embeddings by name, and the names of those that were there.

    Raises:
        StoreError: The folder is another writer's, or holds something else, or can't be written.
    """
    if out is not None:
        _check_folder(Path(out))
    found: dict[str, Embedding] = {}
    there: list[str] = []
    for number, (name, make) in enumerate(tasks.items()):
        task, data = make()
        samples = near(task, samples_of(data))
        facts = {
            "schema": SCHEMA, "task": task_facts(task), "parameters": digest_of_model(task.model),
            "outputs": outputs_digest(task, samples), "data": samples.digest(), "batch_size": batch_size, **options,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        path = None if out is None else Path(out) / file_name(name)
        kept = None if path is None else _kept(path, key)
        if kept is not None:
            there.append(name)
        else:
            x = samples.all_inputs("embed")
            kept = task_embedding(task, _batches(x, samples.y, batch_size), **options)
            if path is not None:
                _keep(path, {"name": name, "key": key, "embedding": kept.to_dict()})
        found[name] = kept
        if progress is not None:
            progress("tasks", number + 1, len(tasks))
    return found, tuple(there)


def file_name(name: str) -> str:
    """A file's name that no other task has, with what a file's name may hold of the task's."""
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-")[-60:]
    return f"{plain}.{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}.json"


def _check_folder(path: Path) -> None:
    """Refuse a folder that holds something else and no embedding."""
    if path.exists() and not path.is_dir():
        raise StoreError(f"embed: out must be a folder; got the file {path}. Choose another path.")
    check_writable(path)
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    foreign = sorted(name for name in names if name != LOCK and not name.endswith(TEMPORARY))
    if foreign and not any(NAMED.search(name) for name in foreign):
        raise StoreError(
            f"embed: out must be a new or empty folder, or one of embeddings; got {path}, which holds {foreign[0]!r} "
            "and no embedding. Choose another folder."
        )


def _batches(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x[start : start + size], y[start : start + size]) for start in range(0, len(x), size))


def _kept(path: Path, key: str) -> Embedding | None:
    """What is there, if it is of the same task, data and options."""
    if not path.exists():
        return None
    try:
        entries = json.loads(read_bytes("open", path))
        return Embedding.from_dict(entries["embedding"]) if entries["key"] == key else None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"embed: {path} must be an embedding that this command wrote; got {type(error).__name__} as it is read. "
            "Delete it, or choose another folder."
        ) from error


def _keep(path: Path, entries: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        write_bytes(path, json.dumps(entries).encode())
