"""Samples as Arrow rows: nothing is lost, nothing is changed."""

import numpy as np
import pyarrow as pa
import torch

from infotorch.data.rows import sample_rows
from infotorch.data.samples import RESERVED, Samples


def test_everything_known_is_in_its_column():
    rows = sample_rows(
        Samples(
            x=torch.zeros(3, 2),
            y=torch.tensor([1, 0, 1]),
            ids=("a", "<b>", "\u202e\x00😀"),
            label_names=("no", "yes"),
            images=np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3),
            texts=("p", "q", "r"),
            metadata={"source": np.array(["u", "v", "w"]), "age": np.array([1, 2, 3]), "w": np.array([0.5, 1, np.nan])},
        ),
        1,
        3,
    )
    assert tuple(rows.column_names) == (*RESERVED, "source", "age", "w")
    first = rows.slice(0, 1).to_pylist()[0]
    image = first.pop("image")
    assert np.array_equal(np.frombuffer(image, np.uint8), np.arange(60, 120))
    assert first == {
        "index": 1, "id": "<b>", "label": 0, "label_name": "no", "height": 4, "width": 5, "channels": 3, "text": "q",
        "source": "v", "age": 2, "w": 1.0,
    }  # fmt: skip
    assert rows["id"][1].as_py() == "\u202e\x00😀" and rows.schema.field("index").type == pa.int64()


def test_what_is_not_known_is_null():
    rows = sample_rows(Samples(x=torch.zeros(2, 2), y=torch.tensor([0.5, 1.5]), ids=("a", "b")), 0, 2)
    assert rows["label"].to_pylist() == [0.5, 1.5]
    for name in ("label_name", "image", "height", "width", "channels", "text"):
        assert rows[name].null_count == 2


def test_gray_pictures_have_one_channel_and_large_ones_are_reduced():
    samples = Samples(x=torch.zeros(1, 2), y=torch.tensor([0]), ids=("a",), images=np.full((1, 128, 65), 5, np.uint8))
    row = sample_rows(samples, 0, 1).to_pylist()[0]
    assert (row["height"], row["width"], row["channels"]) == (64, 33, 1) and row["image"] == bytes([5]) * 64 * 33


def test_targets_with_several_numbers_are_lists():
    samples = Samples(x=torch.zeros(2, 2), y=torch.tensor([[0.5, 1.5], [2.0, 3.0]]), ids=("a", "b"), label_names=("n",))
    rows = sample_rows(samples, 0, 2)
    assert rows["label"].to_pylist() == [[0.5, 1.5], [2.0, 3.0]] and rows["label_name"].null_count == 2
