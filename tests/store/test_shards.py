"""Shards: scores come back to the bit, and the same rows are the same bytes."""

import hashlib
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch.errors import StoreError
from infotorch.store.shards import ROW_GROUP, Shard, row_ranges, rows_of, scores_of, specs_of
from infotorch.table import Column, Scores


@settings(deadline=None)
@given(st.integers(1, 1000), st.integers(1, 1000))
def test_ranges_cover_every_row_once(num_rows, shard_size):
    ranges = row_ranges(num_rows, shard_size)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(num_rows))
    assert all(stop - start == shard_size for start, stop in ranges[:-1])


def table():
    rng = np.random.default_rng(0)
    special = np.array([-0.0, np.inf, -np.inf, 5e-324, 1 / 3])
    columns = {
        "f64": Column(values=special, unit="nats", source="arXiv 2101.06640, eq. 5", kind="bound"),
        "f32": Column(values=special.astype(np.float32), unit="nats^2", source="<b>é</b>"),
        "i64": Column(values=np.array([-(2**63), 2**63 - 1, 0, 1, -1]), unit="1", source=""),
        "ok": Column(values=np.array([True, False, True, True, False]), unit="1", source="", kind="heuristic"),
        "wide": Column(values=rng.standard_normal((5, 3)), unit="1", source=""),
        "flags": Column(values=rng.standard_normal((5, 2)) > 0, unit="1", source=""),
        "one": Column(values=rng.standard_normal((5, 1)).astype(np.float32), unit="1", source=""),
    }
    return Scores(index=np.arange(10, 15), columns=columns, main="f32")


@pytest.fixture
def shard(tmp_path):
    for name in ("scores", "shards"):
        (tmp_path / name).mkdir()
    shard = Shard(folder=tmp_path, table="scores", number=2, start=10, stop=15)
    shard.write(rows_of(table()))
    return shard


def test_scores_come_back_to_the_bit(shard):
    truth = table()
    got = scores_of(shard.read("open"), specs_of(truth), "f32")
    assert list(got.columns) == list(truth.columns) and got.main == "f32" and specs_of(got) == specs_of(truth)
    assert got.index.tobytes() == truth.index.tobytes()
    for name in truth.columns:
        assert got[name].values.tobytes() == truth[name].values.tobytes() and got[name].values.dtype.isnative


def test_the_same_rows_are_the_same_bytes(shard, tmp_path):
    before = shard.file.read_bytes(), shard.record.read_bytes()
    strided = table()
    columns = {
        name: Column(values=np.asfortranarray(c.values), unit=c.unit, source=c.source, kind=c.kind)
        for name, c in strided.columns.items()
    }
    shard.write(rows_of(Scores(index=strided.index, columns=columns, main="f32")))
    assert (shard.file.read_bytes(), shard.record.read_bytes()) == before


def test_the_file_says_what_each_column_is(shard):
    field = pq.read_schema(shard.file).field("f64")
    assert field.metadata == {b"unit": b"nats", b"source": b"arXiv 2101.06640, eq. 5", b"kind": b"bound"}
    found = pq.ParquetFile(shard.file).metadata
    assert found.row_group(0).column(0).compression == "ZSTD" and found.num_rows == 5


def test_row_groups_have_65536_rows(tmp_path):
    for name in ("scores", "shards"):
        (tmp_path / name).mkdir()
    shard = Shard(folder=tmp_path, table="scores", number=0, start=0, stop=ROW_GROUP + 1)
    shard.write(pa.table({"index": pa.array(np.arange(ROW_GROUP + 1))}))
    found = pq.ParquetFile(shard.file).metadata
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [65_536, 1]


def test_the_record_names_rows_and_hash(shard):
    record = json.loads(shard.record.read_text())
    assert shard.record.name == "part-00002.json" and shard.file.name == "part-00002.parquet"
    assert (record["start"], record["stop"], record["file"]) == (10, 15, "scores/part-00002.parquet")
    shard.check("store")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_shard_is_named(shard, keep):
    data = shard.file.read_bytes()
    shard.file.write_bytes(data[: int(len(data) * keep)])
    for use in (shard.check, shard.read):
        with pytest.raises(StoreError, match=re.escape(f"verify: {shard.file} must be as it was written; got content")):
            use("verify")


def test_a_missing_file_is_named(shard):
    shard.file.unlink()
    for use in (shard.check, shard.read):
        with pytest.raises(StoreError, match=re.escape(f"{shard.file} must be there; got no such file")):
            use("verify")


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"start": 0, "stop": 5, "file": "scores/part-00002.parquet"}'])
def test_a_damaged_record_is_named(shard, record):
    shard.record.write_text(record)
    with pytest.raises(StoreError, match=re.escape(f"{shard.record} must be as it was written")):
        shard.check("verify")


def test_a_record_of_something_that_is_no_parquet_is_named(shard, tmp_path):
    shard.file.write_bytes(b"PAR1 hello PAR1")
    record = json.loads(shard.record.read_text()) | {"sha256": hashlib.sha256(b"PAR1 hello PAR1").hexdigest()}
    shard.record.write_text(json.dumps(record))
    with pytest.raises(StoreError, match=re.escape(f"{shard.file} must be as it was written; got no Parquet")):
        shard.read("verify")


def test_a_shard_of_too_few_rows_is_named(shard):
    shard.write(rows_of(table().rows(0, 3)))
    with pytest.raises(StoreError, match=re.escape("got 3 rows for [10, 15)")):
        shard.read("verify")
