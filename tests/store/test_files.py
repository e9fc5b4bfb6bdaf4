"""Files are whole or absent; one writer holds a folder; what the system refuses is one line."""

import errno
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from infotorch.errors import StoreError
from infotorch.store.files import LOCK, check_writable, file_hash, locked, read_bytes, refusals, write_bytes


def test_a_written_file_is_hashed_and_leaves_no_temporary(tmp_path):
    data = os.urandom(3 << 20)
    sha256 = write_bytes(tmp_path / "a", data)
    assert sha256 == hashlib.sha256(data).hexdigest() == file_hash("open", tmp_path / "a")
    assert read_bytes("open", tmp_path / "a") == data and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, call):
    write_bytes(tmp_path / "a", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=r"store: .*/a must be written; got 'no space left on device' from the system"):
        write_bytes(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_data_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_bytes(tmp_path / "a", b"new")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.ENOSPC, "Make space on this disk, then run the same command again: what is written so far is kept."),
        (errno.EDQUOT, "Make space within your quota"),
        (errno.EFBIG, "Raise the limit"),
        (errno.EACCES, "Choose a folder that you may write to."),
        (errno.EROFS, "Choose a folder that you may write to."),
        (errno.EIO, "Look at this disk, then run the same command again."),
    ],
)
def test_every_refusal_is_one_line_with_a_remedy(tmp_path, number, todo):
    with pytest.raises(StoreError) as caught, refusals("store", tmp_path):
        raise OSError(number, "x")
    assert todo in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).startswith("store: ")


def test_missing_files_are_named(tmp_path):
    for read in (read_bytes, file_hash):
        with pytest.raises(StoreError, match=r"verify: .*/a must be there; got no such file"):
            read("verify", tmp_path / "a")


def test_the_second_writer_is_refused_and_the_first_undisturbed(tmp_path):
    with locked(tmp_path):
        with pytest.raises(StoreError, match=r"one writer at a time; got .*, which another process is writing\. Wait"):
            with locked(tmp_path):
                pass
        with pytest.raises(StoreError, match="one writer at a time"), locked(tmp_path):
            pass
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_bytes() == b""


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "x")

    monkeypatch.setattr("fcntl.flock", unknown)
    with pytest.raises(StoreError, match="the file system must know locks; got 'no locks available'"), locked(tmp_path):
        pass


HOLDER = """
import sys, time, pathlib
from infotorch.store.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[2])
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process is writing"), locked(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    start = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - start < 1


def test_whether_a_folder_can_be_written_is_known_before(tmp_path, monkeypatch):
    """Without a trace: the folder is not made."""
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"must be written; got 'not a directory' .* Choose a path whose parents are"):
        check_writable(tmp_path / "file" / "a")

    def refused(dir):
        raise OSError(errno.EROFS, "read-only", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(StoreError, match=r"must be written; got 'read-only file system' .* Choose a folder"):
        check_writable(tmp_path)
