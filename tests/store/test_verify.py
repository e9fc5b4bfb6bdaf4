"""verify finds every file that is missing, changed or foreign, and names it."""

import re
import shutil

import pytest

from infotorch import store
from infotorch.errors import StoreError
from infotorch.store.manifest import read_manifest, write_manifest
from tests.store.test_writer import create, scores, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "a")


def listed(path):
    return [name for name in store.verify(path) if name != "manifest.json"]


def test_a_whole_run_lists_its_files(run):
    files = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert set(store.verify(run)) == files - {".lock"}


def test_a_copied_run_is_whole(run, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    (tmp_path / "b/.lock").unlink()
    assert store.verify(tmp_path / "b") == store.verify(run)


def test_every_changed_missing_or_truncated_file_is_named(run, tmp_path):
    for name in ["manifest.json", *listed(run)]:
        for kind in ("changed", "missing", "truncated", "empty"):
            copy = tmp_path / kind / name.replace("/", "_")
            shutil.copytree(run, copy)
            file = copy / name
            data = file.read_bytes()
            half = len(data) // 2
            file.unlink()
            if kind != "missing":
                changed = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
                file.write_bytes({"changed": changed, "truncated": data[:-1], "empty": b""}[kind])
            named = "manifest.json" if (kind, name) == ("missing", "manifest.json") else str(file)
            with pytest.raises(StoreError, match=re.escape(named)) as caught:
                store.verify(copy)
            assert "\n" not in str(caught.value), f"{kind} {name}"


@pytest.mark.parametrize(
    "name",
    ["scores/extra.parquet", "notes/extra.json", "extra.txt", "scores/part-00000.parquet.tmp", "tensors/a.npy"],
)
def test_a_foreign_file_is_named(run, name):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("{}")
    with pytest.raises(StoreError, match=rf"must hold the run alone; got {run / name.split('/')[0]}"):
        store.verify(run)


def test_a_report_beside_the_run_is_no_part_of_it(run):
    (run / "report.html").write_text("<html>")
    assert "report.html" not in store.verify(run)


def test_an_unfinished_run_is_named(tmp_path):
    with create(tmp_path / "a") as run:
        run.append(0, scores(0, 2))
    with pytest.raises(StoreError, match=re.escape("must be a finished run; got no scores for rows [2, 4). Run the")):
        store.verify(tmp_path / "a")
    with create(tmp_path / "a") as run:
        for start in (2, 4):
            run.append(start, scores(start, min(start + 2, 5)))
    with pytest.raises(StoreError, match="must be a finished run; got one that was stopped"):
        store.verify(tmp_path / "a")


def test_columns_are_those_of_the_manifest(run):
    manifest = read_manifest("open", run)
    manifest["columns"][0]["unit"] = "1"
    write_manifest(run, manifest)
    with pytest.raises(
        StoreError, match=re.escape(f"{run}/scores/part-00000.parquet must be as it was written; got col")
    ):
        store.verify(run)


def test_a_shard_left_out_of_the_manifest_is_named(run):
    manifest = read_manifest("open", run)
    for name in ("scores/part-00001.parquet", "shards/part-00001.json"):
        del manifest["files"][name]
    write_manifest(run, manifest)
    with pytest.raises(StoreError, match=r"got .*scores/part-00001\.parquet"):
        store.verify(run)
