"""Tables and lists of chosen samples, in each form that they are written in: what other programs read."""

import csv
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.store import SELECTED, check_ending, write_selected, write_table

INDEX, IDS = np.array([3, 17, 400_000_000_000]), ['a "b", c', "línea\nzwei", "=1+1"]
COLUMNS = {"label": np.array([0, 1, 1]), "score": np.array([0.1, 1 / 3, 1e-300])}


def write(path, ids=IDS):
    write_selected(path, INDEX, ids, COLUMNS)
    return path


def test_csv_has_ids_and_scores_to_the_last_digit(tmp_path):
    with open(write(tmp_path / "kept.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["index", "id", "label", "score"]
    assert [row[1] for row in rows] == IDS and [int(row[0]) for row in rows] == INDEX.tolist()
    assert [float(row[3]) for row in rows] == COLUMNS["score"].tolist()


def test_parquet_has_the_same_columns(tmp_path):
    table = pyarrow.parquet.read_table(write(tmp_path / "kept.PARQUET")).to_pydict()
    assert table == {"index": INDEX.tolist(), "id": IDS, **{name: value.tolist() for name, value in COLUMNS.items()}}


def test_json_has_the_same_rows(tmp_path):
    rows = pyarrow.parquet.read_table(write(tmp_path / "kept.parquet")).to_pylist()
    assert json.loads(write(tmp_path / "kept.json").read_text()) == rows
    assert [json.loads(line) for line in write(tmp_path / "kept.jsonl").read_text().splitlines()] == rows


def test_npy_has_the_places(tmp_path):
    found = np.load(write(tmp_path / "kept.npy"))
    assert found.dtype == np.int64 and found.tolist() == INDEX.tolist()


def test_txt_has_an_id_a_line(tmp_path):
    assert write(tmp_path / "kept.txt", ["a b", "é", ""]).read_text(encoding="utf-8") == "a b\né\n\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "a\n"])
def test_an_id_of_two_lines_is_refused_there(tmp_path, name):
    with pytest.raises(DataError) as error:
        write(tmp_path / "kept.txt", ["x", "y", name])
    assert str(error.value) == (
        f"store: an id must be one line to stand in a .txt; got {name!a}. Write a .csv or a .parquet."
    )
    assert not os.listdir(tmp_path)


def test_a_file_that_is_there_is_replaced_whole(tmp_path):
    (tmp_path / "kept.npy").write_bytes(b"x" * 10_000)
    assert np.load(write(tmp_path / "kept.npy")).tolist() == INDEX.tolist() and os.listdir(tmp_path) == ["kept.npy"]


def test_other_endings_and_folders_are_refused(tmp_path):
    message = r"store: the file's ending must be one of '.csv', '.parquet', .*, '.npy', '.txt'; got '.csvv'"
    with pytest.raises(ConfigError, match=message):
        write(tmp_path / "kept.csvv")
    with pytest.raises(StoreError, match="must be written; got 'no such file or directory' from the system"):
        write(tmp_path / "none" / "kept.csv")


TABLE = pa.table({"id": ['a,"b"', "c\nd", "é"], "score": [1.5, float("inf"), None], "wrong": [True, False, True]})


def test_every_ending_holds_the_same_rows(tmp_path):
    paths = [write_table("test", TABLE, tmp_path / f"a{ending}") for ending in (".csv", ".parquet", ".jsonl", ".JSON")]
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


def test_other_endings_of_tables_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"test: the file's ending must be one of '\.csv', .*; got '\.txt'"):
        check_ending("test", "a.txt")
    assert check_ending("test", "a.CSV") == ".csv" and check_ending("test", "a.b.TXT", SELECTED) == ".txt"
    with pytest.raises(StoreError, match="must be written; got 'no such file or directory'"):
        write_table("test", TABLE, tmp_path / "none" / "a.csv")
