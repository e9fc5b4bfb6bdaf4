"""Runs of the same samples on one page: matched by id, refused where they are of other samples or labels."""

import json

import numpy as np
import pyarrow as pa
import pytest

from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.report.joined import SETTINGS, joined, opened
from infotorch.table import Column, Scores
from tests.report.double import DoubleRun

FIRST = ["a", "b", "c", "d"]


def run(ids, columns, *, labels=None, noted=None, index=None):
    rows = {"index": pa.array(np.arange(len(ids))), "id": pa.array(ids)}
    if labels is not None:
        rows["label"] = pa.array(labels)
    table = {name: Column(values=np.array(values), unit="1", source="") for name, values in columns.items()}
    return DoubleRun(
        table=Scores(index=np.arange(len(ids)) if index is None else np.array(index), columns=table),
        rows=pa.table(rows), noted=noted or {}, manifest={"run": ids[0], "rows": len(ids)},
    )  # fmt: skip


def test_scores_are_matched_by_id_in_the_order_of_the_first():
    one = run(FIRST, {"loss": [1.0, 2.0, 3.0, 4.0], "suggested_label": [0, 1, 0, 1]}, labels=[0, 0, 1, 1])
    two = run(["d", "x", "b", "a"], {"leverage": [40.0, 0.0, 20.0, 10.0]}, labels=[1, 9, 0, 0])
    three = run(FIRST[::-1], {"limit_ema": [4.0, 3.0, 2.0, 1.0], "suggested_label": [9, 9, 9, 9]})
    found = joined(one, [two, three])
    table = found.scores()
    assert found.samples()["id"].to_pylist() == ["a", "b", "d"] and table.index.tolist() == [0, 1, 3]
    assert table.main == "loss" and list(table.columns) == ["loss", "suggested_label", "leverage", "limit_ema"]
    assert table["loss"].values.tolist() == [1.0, 2.0, 4.0]
    assert table["leverage"].values.tolist() == [10.0, 20.0, 40.0]
    assert table["limit_ema"].values.tolist() == [1.0, 2.0, 4.0]
    assert table["suggested_label"].values.tolist() == [0, 1, 1], "what the first one suggests"
    assert found.manifest["rows"] == 3 and [each["name"] for each in found.manifest["joined"]] == ["d", "d"]
    assert found.notes()["warnings"] == [
        "1 of 4 samples are not in all of the runs that are joined here, and are left out."
    ]


def test_notes_of_the_first_come_first_and_warnings_are_all_kept():
    one = run(FIRST, {"loss": [1.0] * 4}, noted={"finding": "one", "warnings": "w1"})
    two = run(
        FIRST, {"leverage": [1.0] * 4}, noted={"finding": "two", "weights": {"nats": 3}, "warnings": ["w2", "w3"]}
    )
    notes = joined(one, [two, {"finding": "three", "supervision": {"complexity": []}}]).notes()
    assert notes == {
        "finding": "one", "weights": {"nats": 3}, "supervision": [{"complexity": []}], "warnings": ["w1", "w2", "w3"],
    }  # fmt: skip
    assert one.noted == {"finding": "one", "warnings": "w1"}, "the runs stay as they are"
    assert joined(one, []) is one


def test_runs_of_others_are_refused():
    one = run(FIRST, {"loss": [1.0] * 4}, labels=[0, 1, 2, 3])
    with pytest.raises(DataError, match="report: runs must have samples in common; got none of the same id"):
        joined(one, [run(["x", "y"], {"leverage": [1.0, 2.0]})])
    with pytest.raises(DataError, match=r"give a sample one label; got others for 1 of 2, the first 'b'"):
        joined(one, [run(["a", "b"], {"leverage": [1.0, 2.0]}, labels=[0, 2])])
    with pytest.raises(DataError, match="must name each sample once; got 'a' more than once"):
        joined(one, [run(["a", "a"], {"leverage": [1.0, 2.0]})])
    with pytest.raises(ConfigError, match="a score must stand in one of the runs; got 'loss' in two"):
        joined(one, [run(FIRST, {"loss": [2.0] * 4})])


def test_places_of_another_order_are_not_taken_for_the_first_runs():
    one = run(FIRST, {"loss": [1.0] * 4, "reliable": [True, True, False, True]})
    chapter = {"retraining": {"index": [0]}, "title": "two", "limit": {"num_train": 4}}
    same = run(FIRST, {"leverage": [1.0] * 4, "reliable": [True, False, True, True]}, noted=chapter)
    found = joined(one, [same])
    assert found.scores()["reliable"].values.tolist() == [True, False, False, True]
    assert found.notes() == {"retraining": {"index": [0]}, "limit": {"num_train": 4}, "warnings": []}
    notes = joined(one, [run(FIRST[::-1], {"leverage": [1.0] * 4}, noted=chapter)]).notes()
    assert notes["limit"] and "retraining" not in notes
    assert notes["warnings"] == [
        "The chapter 'retraining' of a run that is joined here is left out: its samples have other places."
    ]


def test_a_folder_is_a_run_or_a_table_of_complexity(tmp_path):
    with pytest.raises(StoreError):
        opened(tmp_path)
    rows = {step: [{"step": step, "target": "labels", "unit_adjusted": 1.0}] for step in (0, 20, 100)}
    done = {f"step-{step:08d}": {"sha256": "", "rows": rows[step]} for step in (100, 0, 20)}
    (tmp_path / "complexity.json").write_text(json.dumps({"settings": {"tau": 1.0}, "checkpoints": done}))
    assert opened(tmp_path) == {
        "supervision": {
            "complexity": [*rows[0], *rows[20], *rows[100]], "name": tmp_path.name, "settings": {"tau": 1.0},
        }
    }  # fmt: skip
    (tmp_path / "complexity.json").write_text("{")
    with pytest.raises(StoreError, match=r"complexity\.json"):
        opened(tmp_path)


def table(name, sample=(1, 28, 28)):
    settings = dict.fromkeys(SETTINGS) | {"data": {"sample": list(sample)}}
    return {"supervision": {"complexity": [], "name": name, "settings": settings}}


def test_tables_of_complexity_are_all_kept_and_told():
    found = joined(run(FIRST, {"loss": [1.0] * 4}), [table("a"), table("b")])
    assert [each["name"] for each in found.notes()["supervision"]] == ["a", "b"]
    assert [each["name"] for each in found.manifest["joined"]] == ["a", "b"]
    assert "supervision" not in joined(run(FIRST, {"loss": [1.0] * 4}), [{"weights": 1}]).notes()


def test_tables_of_complexity_of_other_samples_or_of_one_name_are_refused():
    one = run(FIRST, {"loss": [1.0] * 4})
    with pytest.raises(ConfigError, match="report: tables of complexity must have names of their own; got two of 'a'"):
        joined(one, [table("a"), table("a")])
    one.manifest["data"] = {"x": {"shape": [4, 64]}}
    with pytest.raises(DataError, match=r"such samples as the run's, \[64\]; got \[1, 28, 28\] in 'a'"):
        joined(one, [table("a")])
    joined(one, [table("a", (64,))])
    for other in ({"name": "a"}, {"settings": dict.fromkeys(SETTINGS)}, {"name": "a", "settings": {"tau": 1.0}}):
        with pytest.raises(DataError, match="must have the settings that infotorch complexity keeps; got others in"):
            joined(one, [{"supervision": {"complexity": [], "settings": {}, **other}}])
    unnamed = {"supervision": {"complexity": []}}
    assert len(joined(one, [unnamed, unnamed, {"supervision": None}]).notes()["supervision"]) == 2


def test_a_chapter_of_two_runs_is_shown_once_and_told():
    one, two = (run(FIRST, {name: [1.0] * 4}, noted={"weights": name}) for name in ("loss", "leverage"))
    notes = joined(one, [two]).notes()
    assert notes["weights"] == "loss" and notes["warnings"] == [
        "The chapter 'weights' stands in two of the runs that are joined here: that of the first is shown."
    ]
