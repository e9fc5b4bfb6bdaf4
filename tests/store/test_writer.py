"""Runs being written: made, gone on with, refused; never half there."""

import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from infotorch import store
from infotorch.errors import ConfigError, StoreError
from infotorch.store import files
from infotorch.store.manifest import read_manifest, write_manifest
from infotorch.table import Column, Scores

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = {"l2": 0.0, "measures": [{"name": "a", "steps": 3}]}


def scores(start, stop, name="a", **options):
    values = np.sin(np.arange(start, stop, dtype=np.float64))
    column = Column(values=values, **{"unit": "nats", "source": "test"} | options)
    return Scores(index=np.arange(start, stop), columns={name: column})


def samples(start, stop):
    return pa.table({"index": pa.array(range(start, stop), pa.int64()), "id": [f"s{i}" for i in range(start, stop)]})


def create(path, **options):
    return store.create(path, **{"command": COMMAND, "num_rows": 5, "shard_size": 2, "data": {"digest": "x"}} | options)


def write(path, **options):
    """A whole run, or what is missing of it."""
    with create(path, **options) as run:
        for start, stop in run.ranges():
            if not run.has_samples(start):
                run.put_samples(start, samples(start, stop))
            if (start, stop) not in run.done():
                run.append(start, scores(start, stop))
        run.note("title", {"sentence": "<b>five</b> samples"})
        run.finish()
    return path


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def begun(path, **options):
    return store.begun(path, **{"command": COMMAND, "num_rows": 5, "shard_size": 2, "data": {"digest": "x"}} | options)


def test_what_would_be_gone_on_with_is_told_without_a_touch_of_it(tmp_path):
    assert begun(tmp_path / "run") is None and not list(tmp_path.iterdir())
    write(tmp_path / "run")
    there = contents(tmp_path)
    assert begun(tmp_path / "run").done() == {(0, 2), (2, 4), (4, 5)}
    with pytest.raises(StoreError, match=r"got command.l2 0.0 there and 1.0 now"):
        begun(tmp_path / "run", command={**COMMAND, "l2": 1.0})
    with pytest.raises(StoreError, match=r"out must be a new or empty folder, or a run; got .*, which holds 'run'"):
        begun(tmp_path)
    with pytest.raises(StoreError, match="out must be a folder; got the file"):
        begun(tmp_path / "run" / "manifest.json")
    with pytest.raises(ConfigError, match="shard_size must be at least 1"):
        begun(tmp_path / "new", shard_size=0)
    assert contents(tmp_path) == there


def test_the_same_command_writes_the_same_bytes(tmp_path):
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_a_run_has_this_layout(tmp_path):
    tables = [f"{name}/part-0000{i}.parquet" for name in ("samples", "scores") for i in range(3)]
    records = [f"shards/{name}-0000{i}.json" for name in ("part", "samples") for i in range(3)]
    found = contents(write(tmp_path / "a"))
    assert sorted(found) == sorted([".lock", "manifest.json", "notes/title.json", *tables, *records])
    assert found[".lock"] == b""


def test_a_finished_run_is_left_alone(tmp_path):
    path = write(tmp_path / "a")
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    write(path)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()} == before


def test_a_run_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(ZeroDivisionError), create(tmp_path / "a") as run:
        run.put_samples(0, samples(0, 2))
        run.append(2, scores(2, 4))
        raise ZeroDivisionError
    with create(tmp_path / "a") as run:
        assert run.done() == {(2, 4)} and run.has_samples(0) and not run.has_samples(2) and not run.finished
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


@pytest.mark.parametrize(
    "name", ["scores/part-00000.parquet", "shards/part-00000.json", "manifest.json", "notes/t.json"]
)
def test_torn_leftovers_are_cleaned(tmp_path, name):
    with create(tmp_path / "a") as run:
        run.append(2, scores(2, 4))
    (tmp_path / "a" / f"{name}.tmp").write_bytes(b"torn")
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_a_parquet_file_without_record_is_written_again(tmp_path):
    path = write(tmp_path / "a")
    (path / "shards/part-00001.json").unlink()
    (path / "scores/part-00001.parquet").write_bytes(b"old")
    assert contents(write(path)) == contents(write(tmp_path / "b"))


def test_a_crash_before_the_first_manifest_leaves_a_usable_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.lock").touch()
    (tmp_path / "a/manifest.json.tmp").write_text("{")
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_another_command_is_refused_and_changes_nothing(tmp_path):
    path = write(tmp_path / "a")
    before = contents(path)
    other = {"l2": 0.0, "measures": [{"name": "a", "steps": 4}]}
    with pytest.raises(StoreError, match=re.escape("got command.measures[0].steps 3 there and 4 now. Choose another")):
        write(path, command=other)
    with pytest.raises(StoreError, match=re.escape('got data.digest "x" there and "y" now')):
        write(path, data={"digest": "y"})
    with pytest.raises(StoreError, match="got rows 5 there and 6 now"):
        write(path, num_rows=6)
    assert contents(path) == before


@pytest.mark.parametrize("name", ["thesis.txt", "data"])
def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path, name):
    (tmp_path / name).mkdir() if name == "data" else (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match=f"must be a new or empty folder, or a run; got .*, which holds '{name}'"):
        write(tmp_path)
    assert os.listdir(tmp_path) == [name]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="out must be a folder; got the file"):
        write(tmp_path / "file")
    with pytest.raises(
        StoreError, match=r"must be written; got 'not a directory' from the system\. Choose a path whose"
    ):
        write(tmp_path / "file/run")


def test_a_damaged_shard_stops_a_run_from_going_on(tmp_path):
    path = write(tmp_path / "a")
    file = path / "scores/part-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    (path / "shards/part-00002.json").unlink()
    remedy = "Delete it and part-00001.json in shards, then run the same command again."
    with pytest.raises(
        StoreError, match=re.escape(f"{file} must be as it was written; got content of another hash. ") + remedy
    ):
        write(path)
    file.unlink()
    (path / "shards/part-00001.json").unlink()
    assert contents(write(path)) == contents(write(tmp_path / "b"))


def test_a_newer_run_is_refused(tmp_path):
    path = write(tmp_path / "a")
    write_manifest(path, read_manifest("open", path) | {"schema_version": 2})
    with pytest.raises(StoreError, match="must be at most 1; got 2"):
        write(path)


def test_two_writers_are_refused(tmp_path):
    with create(tmp_path / "a") as run:
        run.append(0, scores(0, 2))
        with pytest.raises(StoreError, match="a run has one writer at a time"):
            write(tmp_path / "a")
        with pytest.raises(StoreError, match="a run has one writer at a time"), store.reopen(tmp_path / "a"):
            pass
        run.append(2, scores(2, 4))
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda run: run.append(1, scores(1, 3)),
            "rows must be those of one shard, 2 from a multiple of it; got 2 from",
        ),
        (
            lambda run: run.append(0, scores(0, 3)),
            "rows must be those of one shard, 2 from a multiple of it; got 3 from",
        ),
        (lambda run: run.append(0, scores(2, 4)), "scores must have index 0 to 1; got 2 to 3"),
        (lambda run: run.append(2, scores(2, 4, name="b")), "every shard must have the columns a in dtype"),
        (lambda run: run.append(2, scores(2, 4, unit="1")), "every shard must have the columns a in dtype"),
        (lambda run: run.put_samples(0, samples(2, 4)), "samples must begin with a column index, 0 to 1; got other"),
        (lambda run: run.put_samples(0, samples(0, 2).drop(["index"])), "samples must begin with a column index"),
        (lambda run: run.finish(), "a finished run must have scores of all 5 rows; got none of [2, 4)"),
    ],
    ids=range(8),
)
def test_what_is_not_of_the_run_is_refused(tmp_path, use, message):
    with create(tmp_path / "a") as run:
        run.append(0, scores(0, 2))
        with pytest.raises(StoreError, match=re.escape(message)):
            use(run)


def test_samples_are_whole_or_absent(tmp_path):
    with create(tmp_path / "a") as run:
        for start, stop in run.ranges():
            run.append(start, scores(start, stop))
        run.finish()
        run.put_samples(0, samples(0, 2))
        with pytest.raises(StoreError, match=re.escape("must have samples of all 5 rows; got none of [2, 4)")):
            run.finish()


@pytest.mark.parametrize("sizes", [{"num_rows": 0}, {"shard_size": 0}])
def test_sizes_are_positive(tmp_path, sizes):
    with pytest.raises(ConfigError, match="must be at least 1; got 0"), create(tmp_path / "a", **sizes):
        pass


@pytest.mark.parametrize("name", ["", "../x", "a b", ".x", "a/b", "x" * 65])
def test_notes_have_plain_names(tmp_path, name):
    with create(tmp_path / "a") as run, pytest.raises(ConfigError, match="a note's name must be letters, digits"):
        run.note(name, {})


def test_notes_added_later_are_hashed(tmp_path):
    path = write(tmp_path / "a")
    with store.reopen(path) as run:
        run.note("extra", {"a": 1})
        assert not store.open(path).manifest["complete"]
        run.finish()
    assert store.open(path).notes() == {"title": {"sentence": "<b>five</b> samples"}, "extra": {"a": 1}}
    assert "notes/extra.json" in store.verify(path)


def test_columns_given_beforehand_are_kept(tmp_path):
    with create(tmp_path / "b") as run:
        run.append(0, scores(0, 2))
        columns = run.manifest["columns"]
    with create(tmp_path / "a", columns=columns) as run:
        assert run.manifest["columns"] == columns and run.manifest["main"] == "a"
        with pytest.raises(StoreError, match="every shard must have the columns a"):
            run.append(0, scores(0, 2, name="b"))


def test_nothing_in_a_run_tells_when_or_where_it_was_written(tmp_path):
    path = write(tmp_path / "a")
    year = str(__import__("datetime").date.today().year).encode()
    for name, data in contents(path).items():
        for word in (
            os.uname().nodename.encode(),
            str(tmp_path).encode(),
            str(os.getpid()).encode() + b" ",
            year + b"-",
        ):
            assert word not in data, f"{word!r} in {name}"


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (os, "replace"), (files._Hashing, "write")], ids=str)
@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_a_full_disk_is_one_line_and_leaves_a_resumable_run(tmp_path, monkeypatch, owner, call, after):
    count, original = iter(range(1000)), getattr(owner, call)

    def full(*arguments):
        if next(count) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments)

    monkeypatch.setattr(owner, call, full)
    with pytest.raises(StoreError, match=r"^store: \S+ must be written; got 'no space left on device' .*kept\.$"):
        write(tmp_path / "a")
    monkeypatch.undo()
    assert not list((tmp_path / "a").rglob("*.tmp"))
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_a_really_full_disk_is_one_line_and_leaves_a_resumable_run(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no small disk: mounting a tmpfs needs root")
    try:
        (disk / "ballast").write_bytes(bytes(40_000))
        with pytest.raises(
            StoreError, match=r"must be written; got 'no space left on device' .*Make space on this disk"
        ):
            write(disk / "a")
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        assert contents(write(disk / "a")) == contents(write(tmp_path / "b"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_size_limit_is_one_line(tmp_path):
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1200, 1200))
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.store.test_writer import write
import pathlib
write(pathlib.Path(sys.argv[1]))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "a")], capture_output=True, text=True, cwd=ROOT
    )
    assert (
        "StoreError: store: " in done.stderr and "got 'file too large' from the system. Raise the limit" in done.stderr
    )
    assert contents(write(tmp_path / "a")) == contents(write(tmp_path / "b"))


def test_a_folder_without_permission_is_named(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    was = os.geteuid()
    if was == 0:
        for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"got 'permission denied' from the system\. Choose a folder that you may"):
            write(folder / "a")
        with pytest.raises(StoreError, match=r"got 'permission denied' from the system\. Choose a folder that you may"):
            write(folder)
    finally:
        os.seteuid(was)


KILLED = """
import os, signal, sys, pathlib
sys.path.insert(0, {root!r})
from tests.store import test_writer
left = int(sys.argv[2])
def counted(original):
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return call
# A kill loses nothing that the system was given, so flushing to the disk is counted but left out.
os.fsync, os.replace, os.open = counted(lambda handle: None), counted(os.replace), counted(os.open)
from infotorch.store import files
files._Hashing.write = counted(files._Hashing.write)
run = pathlib.Path(sys.argv[1])
left, first = 10**9, left
test_writer.write(run / "first", **test_writer.SMALL)  # what is set up once is set up before the forks
left, code = first, 1
while code:
    pid = os.fork()
    if pid == 0:
        test_writer.write(run / str(left), **test_writer.SMALL)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(left, code, flush=True)
    left += 1
"""
SMALL = {"num_rows": 3}


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(tmp_path, monkeypatch):
    """A child kills itself at its n-th write, flush, rename or open, for every n there is."""
    code = KILLED.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), "0"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    moments = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(moments) > 100 and {code for _, code in moments[:-1]} == {-signal.SIGKILL} and moments[-1][1] == 0
    truth = contents(tmp_path / str(moments[-1][0]))
    assert sum(contents(tmp_path / str(n)) != truth for n, _ in moments) > 100
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for n, _ in moments:
        assert contents(write(tmp_path / str(n), **SMALL)) == truth, f"killed at call {n}"
