"""Files that are whole or absent, whatever kills the process, and one writer for a folder."""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from infotorch.errors import StoreError

TEMPORARY = ".tmp"
LOCK = ".lock"

_REMEDIES = {
    errno.ENOSPC: "Make space on this disk, then run the same command again: what is written so far is kept.",
    errno.EDQUOT: "Make space within your quota, then run the same command again: what is written so far is kept.",
    errno.EFBIG: "Raise the limit (ulimit -f), then run the same command again: what is written so far is kept.",
    errno.EACCES: "Choose a folder that you may write to.",
    errno.EPERM: "Choose a folder that you may write to.",
    errno.EROFS: "Choose a folder that you may write to.",
    errno.ENOTDIR: "Choose a path whose parents are folders.",
    errno.ENOENT: "Restore it, or run the same command again: what is missing is made again.",
}


@contextlib.contextmanager
def refusals(where: str, path: Path) -> Iterator[None]:
    """Turns what the system refuses about ``path`` into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        todo = _REMEDIES.get(error.errno or 0, "Look at this disk, then run the same command again.")
        verb = "read" if where in ("open", "verify") else "written"
        raise StoreError(f"{where}: {path} must be {verb}; got {reason!r} from the system. {todo}") from error


def nearest_folder(path: Path) -> Path:
    """The nearest folder above ``path`` that is there: on the disk where it will be, or is."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def check_writable(folder: Path) -> None:
    """Before long work: whether ``folder``, there or to be made, can be written in.

    Raises:
        StoreError: The system refuses.
    """
    with refusals("store", folder):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()


class _Hashing(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # pyarrow and json hand over bytes, nothing else
        self.file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, write: Callable[[io.RawIOBase], None], *, temporary: Path | None = None) -> str:
    """Writes ``path`` so that it is there whole or, after any crash, not at all; returns its SHA-256.

    The bytes go to ``temporary``, by default ``<path>.tmp``, which is flushed to the disk and renamed; then the folder
    is flushed. Processes that may write one path at the same time need temporary names of their own.

    Raises:
        StoreError: The system refuses; nothing is left of the new file.
    """
    temporary = temporary or path.with_name(path.name + TEMPORARY)
    with refusals("store", path):
        try:
            with open(temporary, "wb") as file:
                hashing = _Hashing(file)
                write(hashing)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):  # an error before is the one to tell
                temporary.unlink(missing_ok=True)
    return hashing.sha256.hexdigest()


def write_bytes(path: Path, data: bytes, *, temporary: Path | None = None) -> str:
    """Writes ``data`` as ``write_file`` does; returns its SHA-256."""

    def write(file: io.RawIOBase) -> None:
        file.write(data)

    return write_file(path, write, temporary=temporary)


def _check_there(where: str, path: Path) -> None:
    if not path.is_file():
        raise StoreError(f"{where}: {path} must be there; got no such file. {_REMEDIES[errno.ENOENT]}")


def read_bytes(where: str, path: Path) -> bytes:
    """The file's content.

    Raises:
        StoreError: The file is missing, or the system refuses.
    """
    with refusals(where, path):
        _check_there(where, path)
        return path.read_bytes()


def file_hash(where: str, path: Path) -> str:
    """SHA-256 of the file's content, hexadecimal."""
    sha256 = hashlib.sha256()
    with refusals(where, path):
        _check_there(where, path)
        with open(path, "rb") as file:
            while data := file.read(1 << 20):
                sha256.update(data)
    return sha256.hexdigest()


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Holds the folder's lock: one writer at a time; raises as :func:`locked_file`."""
    return _held(folder / LOCK, folder, "run")


def locked_file(path: Path) -> contextlib.AbstractContextManager[None]:
    """Holds the lock of a file, ``<path>.lock``: one writer at a time.

    Raises:
        StoreError: Another process writes it, the folder can't be written, or the file system has no locks.
    """
    return _held(path.with_name(path.name + LOCK), path, "file")


@contextlib.contextmanager
def _held(path: Path, what: Path, kind: str) -> Iterator[None]:
    """Holds the lock at ``path``.

    The system drops the lock when its process ends in any way, so a killed writer blocks nobody. The lock's file stays,
    empty: deleting it would let two writers hold two files of one name.
    """
    with refusals("store", path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"store: a {kind} has one writer at a time; got {what}, which another process is writing. "
                f"Wait until it ends, or choose another {'folder' if kind == 'run' else kind}."
            ) from error
        except OSError as error:
            raise StoreError(
                f"store: the file system must know locks; got {os.strerror(error.errno or 0).lower()!r} for {path}. "
                "Choose a folder on a local disk."
            ) from error
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # processes that were forked meanwhile have the handle too
        os.close(handle)
