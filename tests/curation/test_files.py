"""What is written is what other programs read."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from infotorch.curation.files import check_ending, write_table
from infotorch.errors import ConfigError, StoreError

TABLE = pa.table({"id": ['a,"b"', "c\nd", "é"], "score": [1.5, float("inf"), None], "wrong": [True, False, True]})


def test_every_ending_holds_the_same_rows(tmp_path):
    paths = [write_table("test", TABLE, tmp_path / f"a{ending}") for ending in (".csv", ".parquet", ".jsonl", ".json")]
    with open(paths[0], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == TABLE["id"].to_pylist()
    assert [row["score"] for row in rows] == ["1.5", "inf", ""] and rows[0]["wrong"] == "true"
    assert pyarrow.parquet.read_table(paths[1]).equals(TABLE)
    truth = TABLE.to_pylist()
    truth[1]["score"] = "inf"  # JSON has no number for it
    assert [json.loads(line) for line in paths[2].read_text().splitlines()] == truth
    assert json.loads(paths[3].read_text()) == truth


def test_an_empty_table_is_written(tmp_path):
    for ending, text in ((".jsonl", ""), (".json", "[]\n"), (".csv", '"id","score","wrong"\n')):
        assert write_table("test", TABLE.slice(0, 0), tmp_path / f"a{ending}").read_text() == text


def test_other_endings_and_places_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"test: the file's ending must be one of '\.csv', .*; got '\.txt'"):
        check_ending("test", "a.txt")
    with pytest.raises(StoreError, match="must be written; got 'no such file or directory'"):
        write_table("test", TABLE, tmp_path / "none" / "a.csv")
