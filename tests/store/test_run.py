"""Runs read from disk: what was written, and no bytes that were changed since."""

import re

import pyarrow as pa
import pytest

from infotorch import store
from infotorch.errors import StoreError
from tests.store.test_writer import create, samples, scores, write


def test_scores_samples_and_notes_come_back(tmp_path):
    run = store.open(write(tmp_path / "a"))
    truth = scores(0, 5)
    assert run.scores()["a"].values.tobytes() == truth["a"].values.tobytes() and run.scores().main == "a"
    assert run.scores().index.tolist() == list(range(5)) and run.scores()["a"].source == "test"
    assert run.samples().equals(samples(0, 5)) and run.samples(["id"]).column_names == ["id"]
    assert run.sample_columns() == samples(0, 5).column_names
    assert run.notes() == {"title": {"sentence": "<b>five</b> samples"}}
    assert run.finished and run.ranges() == [(0, 2), (2, 4), (4, 5)] and run.done() == set(run.ranges())


def test_a_run_without_samples_has_their_index(tmp_path):
    with create(tmp_path / "a") as run:
        for start, stop in run.ranges():
            run.append(start, scores(start, stop))
        run.finish()
    run = store.open(tmp_path / "a")
    assert run.samples().equals(pa.table({"index": pa.array(range(5), pa.int64())}))
    assert run.sample_columns() == ["index"]


def test_an_unfinished_run_says_what_is_missing(tmp_path):
    with create(tmp_path / "a") as run:
        run.append(2, scores(2, 4))
        run.put_samples(0, samples(0, 2))
    run = store.open(tmp_path / "a")
    assert not run.finished
    with pytest.raises(StoreError, match=re.escape("must be finished; got no scores for rows [0, 2). Run the same")):
        run.scores()
    with pytest.raises(StoreError, match=re.escape("must be finished; got no samples for rows [2, 4). Run the same")):
        run.samples()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("scores/part-00001.parquet", lambda run: run.scores()),
        ("samples/part-00002.parquet", lambda run: run.samples()),
        ("samples/part-00000.parquet", lambda run: run.sample_columns()),
        ("notes/title.json", lambda run: run.notes()),
    ],
)
def test_changed_bytes_are_never_read(tmp_path, name, read):
    path = write(tmp_path / "a")
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(StoreError, match=f"open: {path / name} must be as it was written; got content of another hash"):
        read(store.open(path))


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(
        StoreError, match=r"must be a run; got no manifest\.json in it\. Give the folder that out= named"
    ):
        store.open(tmp_path)
    with pytest.raises(StoreError, match="must be a run; got no such folder"):
        store.open(tmp_path / "none")
