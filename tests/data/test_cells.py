"""Cells of every Arrow type, and the words for one that is missing."""

import datetime
import decimal
import re

import numpy as np
import pyarrow as pa
import pytest

from infotorch.data.cells import kind_of, numbers, texts
from infotorch.errors import DataError
from tests.data.tables import columns_of

KINDS = {
    "number": [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.decimal128(9, 2)],
    "text": [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())],
    "time": [pa.date32(), pa.timestamp("us"), pa.timestamp("ms", tz="UTC"), pa.time64("us")],
    "list": [pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_(pa.int8(), 3), pa.list_(pa.list_(pa.int8()))],
    "picture": [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})],
    "other": [pa.null(), pa.duration("s"), pa.struct({"a": pa.int8()}), pa.map_(pa.string(), pa.int8())],
}


@pytest.mark.parametrize(("kind", "type"), [(kind, type) for kind, types in KINDS.items() for type in types], ids=str)
def test_kinds(kind, type):
    assert kind_of(type) == kind


def test_numbers_of_every_type_are_themselves():
    for type in (pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(9, 2)):
        cells = pa.array([decimal.Decimal(n) for n in (0, 3, 1)], pa.decimal128(9, 2)).cast(type)
        assert numbers(cells).tolist() == numbers(pa.chunked_array([cells[:1], cells[1:]])).tolist() == [0, 3, 1]
    assert numbers(pa.array([True, False])).dtype == np.bool_


def test_texts_of_numbers_and_times():
    assert texts(pa.chunked_array([["a", "ü"], ["b"]])) == ["a", "ü", "b"]
    assert texts(pa.chunked_array([[7, 8]])) == ["7", "8"]
    assert texts(pa.chunked_array([[datetime.date(2020, 1, 31)]])) == ["2020-01-31"]


def test_a_cell_without_value_is_named():
    columns = columns_of({"a": [1, 2]})
    with pytest.raises(
        DataError, match=re.escape("read: row 8 (the first is 0), column 'a' of here, must have a value")
    ):
        columns.whole("a", pa.array([1, None, None]), 7)
    assert columns.whole("a", pa.array(["u", "v", "u"]).dictionary_encode(), 0).to_pylist() == ["u", "v", "u"]


def test_features_come_from_the_schema():
    features = {"label": {"_type": "ClassLabel", "names": ["a"]}, "boxes": [{"_type": "Value"}]}
    assert columns_of({"label": [0]}, features).features == {"label": features["label"]}
    assert columns_of({"label": [0]}).features == {}


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"info": {"features": 3}}', b'{"info": null}', b"\xff"])
def test_features_of_another_form_are_refused(text):
    columns = columns_of(pa.table({"label": [0]}).replace_schema_metadata({"huggingface": text}))
    with pytest.raises(
        DataError, match="schema of here must hold the features of datasets as JSON under 'huggingface'"
    ):
        columns.features  # noqa: B018  # reading it is what fails
