"""Tables, lists and pictures fill up the same in batches of any size, and a cell that doesn't fit is named."""

import re

import numpy as np
import pyarrow as pa
import pytest
import torch

from infotorch.data.fields import Lists, Pictures, Table
from infotorch.errors import DataError
from tests.data.image_files import drawn, file_of
from tests.data.tables import columns_of

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def filled(field, columns):
    start = 0
    for batch in columns.batches:
        field.put({name: columns.whole(name, batch.column(name), start) for name in batch.schema.names}, start)
        start += len(batch)
    return field.x


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_table_has_its_columns_side_by_side(batch):
    values = {"a": [1, 2, 3, 4, 5], "b": [0.1, 0.2, 0.3, 0.4, 0.5], "c": [True, False, True, True, False]}
    columns = columns_of(values, batch=batch)
    truth = np.stack([np.asarray(values[name], np.float64) for name in ("c", "b", "a")], 1).astype(np.float32)
    assert torch.equal(filled(Table(columns, ["c", "b", "a"]), columns), torch.from_numpy(truth))


@pytest.mark.parametrize(("bad", "got"), [(float("nan"), "nan"), (float("-inf"), "-inf"), (1e300, "1e+300")])
def test_a_number_that_is_not_finite_is_named(bad, got):
    columns = columns_of({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, bad]})
    message = f"read: row 2 (the first is 0), column 'b' of here, must be a finite float32 number; got {got}. Correct"
    with pytest.raises(DataError, match=re.escape(message)):
        filled(Table(columns, ["a", "b"]), columns)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("fixed", [False, True], ids=["list", "fixed"])
@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "uint8"])
def test_lists_of_any_depth_keep_their_numbers(batch, fixed, shape, dtype):
    truth = drawn(5, *shape).astype(dtype)
    type = pa.from_numpy_dtype(truth.dtype)
    for size in reversed(shape):
        type = pa.list_(type, size) if fixed else pa.list_(type)
    columns = columns_of({"x": pa.array(truth.tolist(), type)}, batch=batch)
    got = filled(Lists(columns, "x"), columns)
    assert got.numpy().dtype == dtype and np.array_equal(got.numpy(), truth)


ODD = {
    "ragged": ([[1, 2], [3, 4], [5]], "row 2 (the first is 0), column 'x' of here, must have the shape [2], as all ro"),
    "ragged within": ([[[1], [2]], [[1], [2]], [[3], [4, 5]]], "row 2 .*must have the shape [2, 1], as all rows; got"),
    "empty": ([[1], [], [2]], "row 1 (the first is 0), column 'x' of here, must have the shape [1], as all rows; got"),
    "all empty": (pa.array([[], []], pa.list_(pa.int64())), "must have the shape [1], as all rows; got [0]"),
    "a gap": ([[1, 2], [3, 4], [5, None]], "row 2 (the first is 0), column 'x' of here, must have no gaps; got a null"),
    "a gap within": ([[[1], [2]], [[3], None]], "row 1 (the first is 0), column 'x' of here, must have no gaps"),
    "texts": ([["a"], ["b"]], "column 'x' of here must hold lists of numbers; got lists of string. Convert it"),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("case", ODD)
def test_odd_lists_are_named(case, batch):
    values, message = ODD[case]
    columns = columns_of({"x": values}, batch=batch)
    with pytest.raises(DataError, match=re.escape(message).replace(r"\.\*", ".*")):
        filled(Lists(columns, "x"), columns)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("form", ["bytes", "struct", "paths"])
def test_pictures_as_bytes_as_structs_and_as_paths(batch, form, tmp_path):
    pixels = drawn(5, 4, 6, 3)
    for place, picture in enumerate(pixels):
        (tmp_path / f"{place}.png").write_bytes(file_of(picture))
    paths = [str(tmp_path / f"{place}.png") for place in range(5)]
    cells = {
        "bytes": [file_of(picture) for picture in pixels],
        "struct": [{"bytes": file_of(picture), "path": "x.png"} for picture in pixels],
        "paths": pa.array([{"bytes": None, "path": path} for path in paths], STRUCT),
    }[form]  # fmt: skip
    columns = columns_of({"img": cells}, batch=batch)
    field = Pictures(columns, "img")
    assert torch.equal(filled(field, columns), torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert np.array_equal(field.shown, pixels)


def test_the_mode_of_the_features_converts():
    columns = columns_of(
        {"img": [file_of(drawn(4, 4)), file_of(drawn(4, 4, 3))]}, {"img": {"_type": "Image", "mode": "L"}}
    )
    assert filled(Pictures(columns, "img"), columns).shape == (2, 1, 4, 4)


def test_pictures_that_are_none_are_named():
    columns = columns_of({"img": [file_of(drawn(4, 4)), b"no"]}, batch=1)
    with pytest.raises(DataError, match="read: row 1 of here must be a whole picture; got"):
        filled(Pictures(columns, "img"), columns)
    for path in ("none.png", None):
        columns = columns_of({"img": pa.array([{"bytes": None, "path": path}], STRUCT)})
        with pytest.raises(
            DataError, match=f"column 'img' of here, must hold a picture's bytes or .*; got the path {path!r}"
        ):
            filled(Pictures(columns, "img"), columns)
