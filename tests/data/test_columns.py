"""Which column is what: by name, then by feature; what is neither is metadata; what is unclear is refused."""

import datetime
import re

import numpy as np
import pyarrow as pa
import pytest
import torch

from infotorch.data.columns import samples_of_columns
from infotorch.errors import DataError
from tests.data.image_files import drawn, file_of
from tests.data.tables import columns_of


def read(values, features=None, batch=2):
    return samples_of_columns(columns_of(values, features, batch))


PICTURES = [file_of(picture) for picture in drawn(3, 4, 4, 3)]
CLASSES = {"_type": "ClassLabel", "names": ["no", "yes"]}


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_a_table_its_labels_ids_and_metadata(batch):
    values = {
        "id": [7, 8, 9], "age": [30, 40, 50], "city": ["Rome", "Bonn", "Rome"], "rate": [0.5, 0.25, 0.1],
        "label": ["yes", "no", "yes"], "day": [datetime.date(2020, 1, day) for day in (1, 2, 3)],
    }  # fmt: skip
    got = read(values, batch=batch)
    assert torch.equal(got.x, torch.tensor([[30, 0.5], [40, 0.25], [50, 0.1]])) and got.x.dtype == torch.float32
    assert got.y.tolist() == [1, 0, 1] and got.y.dtype == torch.int64 and got.label_names == ("no", "yes")
    assert got.ids == ("7", "8", "9") and list(got.metadata) == ["city", "day"] and got.images is None
    assert got.metadata["city"].tolist() == ["Rome", "Bonn", "Rome"] and got.metadata["day"][2] == "2020-01-03"


def test_columns_of_numbers_may_be_called_x_or_height():
    assert read({"x": [1, 2], "height": [3.0, 4.0], "y": [0, 1]}).x.tolist() == [[1, 3], [2, 4]]


def test_pictures_with_numbers_beside_them():
    got = read({"img": PICTURES, "target": [1, 0, 1], "age": [3, 4, 5], "text": ["p", "q", "r"]})
    assert got.x.shape == (3, 3, 4, 4) and got.images.shape == (3, 4, 4, 3) and got.texts == ("p", "q", "r")
    assert got.metadata["age"].tolist() == [3, 4, 5] and got.ids == ("0", "1", "2")


def test_tokens_come_with_their_texts():
    got = read({"text": ["a b", "c"], "input_ids": [[1, 2], [3, 0]], "label": [0, 1]})
    assert torch.equal(got.x, torch.tensor([[1, 2], [3, 0]])) and got.texts == ("a b", "c")


def test_features_find_columns_of_other_names_and_name_the_classes():
    features = {"photo": {"_type": "Image"}, "kind": CLASSES, "age": {"_type": "Value", "dtype": "int64"}}
    got = read({"photo": PICTURES, "kind": [1, 0, 1], "age": [3, 4, 5]}, features)
    assert got.x.shape == (3, 3, 4, 4) and got.y.tolist() == [1, 0, 1] and got.label_names == ("no", "yes")


def test_a_usual_name_goes_before_a_feature():
    got = read({"a": [1.0, 2.0], "label": [5, 6], "kind": [0, 1]}, {"kind": CLASSES})
    assert got.y.tolist() == [5, 6] and got.label_names is None and got.x.tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        ([3, 0], torch.tensor([3, 0]), None),
        ([True, False], torch.tensor([1, 0]), None),
        (pa.array([3, 0], pa.uint8()), torch.tensor([3, 0]), None),
        ([0.5, 2.0], torch.tensor([0.5, 2.0], dtype=torch.float64), None),
        ([[0.25, 0.75], [1.0, 0.0]], torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64), None),
        (["b", "B"], torch.tensor([1, 0]), ("B", "b")),
        (pa.array(["b", "a"]).dictionary_encode(), torch.tensor([1, 0]), ("a", "b")),
    ],
    ids=["int", "bool", "uint8", "float", "list", "text", "categories"],
)
def test_labels_of_every_type(labels, y, names):
    got = read({"a": [1.0, 2.0], "label": labels})
    assert torch.equal(got.y, y) and got.y.dtype == y.dtype and got.label_names == names


LONG = "must have what the model takes, pictures, lists or numbers, beside"
MISUSES = {
    "no rows": ({"a": pa.array([], pa.int64()), "label": pa.array([], pa.int64())}, "must have at least one row; got"),
    "no labels": (
        {"a": [1], "class": [0]},
        "here must have a column of labels, called y, label, labels, target, targets; got 'a', 'class'. Rename the one",
    ),
    "two labels": ({"a": [1], "label": [0], "target": [0]}, "one column of here must stand for y; got 'label', 'tar"),
    "two inputs": ({"img": [b"x"], "x": [[1]], "y": [0]}, "one column of here must stand for x; got 'img', 'x'. Leave"),
    "one name twice": (
        pa.Table.from_arrays([pa.array([1]), pa.array([0])], names=["y", "y"]), "must have different names; got 'y' twi"
    ),
    "labels alone": ({"label": [0]}, f"here {LONG} labels; got 'label'. Write texts and categories as numbers."),
    "categories alone": ({"city": ["a"], "label": [0]}, f"{LONG} labels; got 'city', 'label'. Write texts and categ"),
    "texts": ({"text": ["a"], "label": [0]}, f"{LONG} texts; got 'text', 'label'. Tokenize it: add input_ids, integer"),
    "texts and numbers": ({"text": ["a"], "row": [1], "label": [0]}, f"{LONG} texts; got 'text', 'row', 'label'. Tok"),
    "paths": (
        {"image": ["a.png"], "label": [0]},
        "column 'image' of here must hold pictures or lists of numbers; got string. Put tokens in place of texts and p",
    ),
    "row numbers": (
        {"": [0], "a": [1], "label": [0]}, "must be features; got '', as pandas calls row numbers. Write the file with"
    ),
    "pandas' index": ({"__index_level_0__": [0], "label": [0]}, "must be features; got '__index_level_0__', as pandas"),
    "masks": (
        {"input_ids": [[1]], "attention_mask": [[1]], "label": [0]},
        "column 'attention_mask' of here must have one number or text a row; got list<",
    ),
    "an empty cell": (
        {"a": [1, 2], "label": [0, None]}, "row 1 (the first is 0), column 'label' of here, must have a value; got no"
    ),
    "an empty label": ({"a": [1, 2], "label": ["u", ""]}, "row 1 (the first is 0), column 'label' of here, must have"),
    "ids twice": ({"a": [1, 2], "id": [5, 5], "label": [0, 1]}, "ids must all differ; got '5' for samples 0 and 1"),
    "a label that is not finite": ({"a": [1, 2], "y": [0.5, np.inf]}, "y must be finite; got inf in sample 1"),
    "a reserved name": ({"x": [[1]], "width": [3], "y": [0]}, "metadata must not be called"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSES)
def test_what_is_unclear_is_refused(case):
    values, message = MISUSES[case]
    with pytest.raises(DataError, match=re.escape(message)):
        read(values)


def test_features_that_find_two_columns_or_too_few_names_are_refused():
    two = {"fine": CLASSES, "coarse": CLASSES}
    with pytest.raises(DataError, match=r"stand for y; got 'fine', 'coarse'\. .* name the one to take 'label'\."):
        read({"a": [1.0], "fine": [0], "coarse": [1]}, two)
    with pytest.raises(DataError, match=r"label_names must name every label, 0 to 1; got label 2 for sample 1 \('1'\)"):
        read({"a": [1.0, 2.0], "label": [0, 2]}, {"label": CLASSES})
