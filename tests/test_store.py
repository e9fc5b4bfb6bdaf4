"""A run that lost files is an unfinished run: the same command makes it whole again, to the byte."""

import pytest

from infotorch import store
from infotorch.errors import StoreError
from tests.pipeline.doubles import Centered, Sum, score
from tests.store.test_writer import contents, write


def delete(path, *names):
    for name in names:
        (path / name).unlink()


@pytest.mark.parametrize(
    "names",
    [
        ["samples/part-00000.parquet", "shards/samples-00000.json"],
        ["samples/part-00001.parquet"],
        [
            f"{name}-0000{i}.{ending}"
            for i in range(3)
            for name, ending in [("samples/part", "parquet"), ("shards/samples", "json")]
        ],
        ["scores/part-00002.parquet", "shards/part-00002.json"],
        ["scores/part-00000.parquet"],
        ["notes/largest.json"],
    ],
    ids=range(6),
)
def test_what_is_deleted_from_a_finished_run_is_made_again(tmp_path, names):
    calls = []

    def notes(scores):
        calls.append(len(scores))
        return {"largest": {"row": int(scores.largest(1)[0])}}

    score(tmp_path / "a", notes=notes)
    truth = contents(tmp_path / "a")
    delete(tmp_path / "a", *names)
    assert not store.open(tmp_path / "a").finished
    rows = Sum()
    score(tmp_path / "a", [rows, Centered("centered")], notes=notes)
    assert contents(tmp_path / "a") == truth and store.verify(tmp_path / "a")
    assert bool(rows.calls) == names[0].startswith("scores")
    assert len(calls) == (2 if names[0].startswith("notes") else 1)


@pytest.mark.parametrize("name", ["samples/part-00000.parquet", "notes/largest.json"])
def test_the_printed_remedy_for_a_damaged_file_works(tmp_path, name):
    options = {"notes": lambda scores: {"largest": {"row": int(scores.largest(1)[0])}}}
    score(tmp_path / "a", **options)
    truth = contents(tmp_path / "a")
    (tmp_path / "a" / name).write_bytes(truth[name][:-3])
    record = ["shards/samples-00000.json"] if "samples" in name else []
    with pytest.raises(StoreError, match="Delete it" + (" and samples-00000.json in shards" if record else "")):
        score(tmp_path / "a", **options)
    delete(tmp_path / "a", name, *record)
    score(tmp_path / "a", **options)
    assert contents(tmp_path / "a") == truth


def test_a_note_is_not_dropped_in_silence(tmp_path):
    score(tmp_path / "a", notes={"warnings": ["<b>"]})
    delete(tmp_path / "a", "notes/warnings.json")
    with pytest.raises(StoreError, match=r"must have notes/warnings\.json, as it had before; got no such file"):
        score(tmp_path / "a")


def test_a_listed_table_or_note_is_not_dropped(tmp_path):
    for names in (["notes/title.json"], [f"{a}-0000{i}.{b}" for i in range(3) for a, b in SAMPLES]):
        path = write(tmp_path / str(len(names)))
        before = contents(path)
        for name in names:
            (path / name).unlink()
        with store.reopen(path) as run:
            assert not run.finished and run.has_samples(0) == (len(names) == 1)
            with pytest.raises(
                StoreError, match=r"a finished run must have (samples of all 5 rows|notes/title\.json, as)"
            ):
                run.finish()
        if len(names) > 1:
            with pytest.raises(StoreError, match="got no samples for rows"):
                store.open(path).samples()
        assert contents(write(path)) == before


SAMPLES = [("samples/part", "parquet"), ("shards/samples", "json")]


def test_a_changed_note_stops_a_run_from_being_blessed(tmp_path):
    path = write(tmp_path / "a")
    (path / "notes/title.json").write_text("{}")
    with pytest.raises(
        StoreError, match=r"title\.json must be as it was written; got content of another hash\. Delete it"
    ):
        write(path)
