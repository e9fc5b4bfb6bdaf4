"""A Dataset of Hugging Face gives what its Parquet file gives, in the order and with the columns it shows."""

import re

import numpy as np
import pytest
import torch

from infotorch.data.readers import read
from infotorch.data.sources import inputs_of, samples_of
from infotorch.errors import DataError
from tests.data.image_files import Image, drawn, file_of

datasets = pytest.importorskip("datasets", reason="no datasets: it comes with the dev extra")

PIXELS = drawn(5, 4, 6, 3)
X = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255


def pictures(**columns):
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])}
    features |= {name: datasets.Value("string") for name in columns}
    images = [Image.fromarray(picture) for picture in PIXELS]
    values = {"img": images, "label": [0, 1, 0, 1, 1], **columns}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def test_pictures_labels_and_names():
    got = samples_of(pictures(id=list("abcde"), source=list("uvuvu")))
    assert torch.equal(got.x, X) and got.y.tolist() == [0, 1, 0, 1, 1] and got.label_names == ("no", "yes")
    assert got.ids == tuple("abcde") and got.metadata["source"].tolist() == list("uvuvu")
    assert np.array_equal(got.images, PIXELS)


def test_a_dataset_is_its_parquet_file(tmp_path):
    data = pictures(source=list("uvuvu"))
    data.to_parquet(tmp_path / "a.parquet", batch_size=2)
    assert samples_of(data).digest() == read(tmp_path / "a.parquet").digest()
    again = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "cache"))
    assert samples_of(again).digest() == samples_of(data).digest()


def test_tables_and_tokens(tmp_path):
    table = datasets.Dataset.from_dict({"age": [1, 2], "rate": [0.5, 0.25], "label": [0, 1]})
    assert samples_of(table).x.tolist() == [[1, 0.5], [2, 0.25]]
    tokens = datasets.Dataset.from_dict({"text": ["a", "b"], "input_ids": [[1, 2], [3, 0]], "label": [0, 1]})
    assert samples_of(tokens).x.tolist() == [[1, 2], [3, 0]] and samples_of(tokens).texts == ("a", "b")
    assert torch.equal(inputs_of(tokens), samples_of(tokens).x)
    features = datasets.Features({"x": datasets.Array2D((2, 3), "float32"), "y": datasets.Value("int64")})
    array = drawn(4, 2, 3).astype(np.float32)
    grids = datasets.Dataset.from_dict({"x": list(array), "y": [0, 1, 2, 3]}, features=features)
    assert np.array_equal(samples_of(grids).x.numpy(), array)


def test_selected_sorted_and_concatenated_rows_keep_their_order():
    data = pictures()
    chosen = data.select([4, 0, 3])
    assert torch.equal(samples_of(chosen).x, X[[4, 0, 3]]) and samples_of(chosen).y.tolist() == [1, 0, 1]
    both = datasets.concatenate_datasets([data, chosen])
    assert torch.equal(samples_of(both).x, torch.cat([X, X[[4, 0, 3]]]))
    assert samples_of(data.filter(lambda row: row["label"] == 1)).y.tolist() == [1, 1, 1]


def test_pictures_that_lie_in_files(tmp_path):
    for place, picture in enumerate(PIXELS):
        folder = tmp_path / "pets" / ("yes" if place in (1, 3, 4) else "no")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place}.png").write_bytes(file_of(picture))
    data = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "pets"), cache_dir=str(tmp_path / "cache"))
    got, ours = samples_of(data["train"]), read(tmp_path / "pets")
    assert torch.equal(got.x, ours.x) and torch.equal(got.y, ours.y) and got.label_names == ours.label_names


def test_columns_that_a_format_hides_stay_hidden():
    data = datasets.Dataset.from_dict({"age": [1, 2], "weight": [3, 4], "label": [0, 1]})
    assert samples_of(data.with_format(columns=["age", "label"])).x.tolist() == [[1], [2]]


def test_formats_and_transforms_are_the_users_own():
    data = pictures()
    assert torch.equal(samples_of(data.with_format("torch")).x, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))

    def halved(rows):
        return {"x": [np.asarray(image, np.float32).mean(2) / 2 for image in rows["img"]], "label": rows["label"]}

    got = samples_of(data.with_transform(halved))
    assert np.array_equal(got.x.numpy(), PIXELS.astype(np.float32).mean(3) / 2) and got.label_names == ("no", "yes")


def test_what_is_no_split_with_inputs_is_refused():
    texts = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    with pytest.raises(
        DataError, match=r"data: the Dataset must have what the model takes, .* Tokenize it: add input_ids"
    ):
        samples_of(texts)
    with pytest.raises(DataError, match=r"got DatasetDict\. Pass one of its splits, 'train' say\."):
        samples_of(datasets.DatasetDict(train=texts))
    with pytest.raises(DataError, match="must have a length and a fixed order"):
        samples_of(pictures().to_iterable_dataset())
    ragged = datasets.Dataset.from_dict({"input_ids": [[1, 2], [3]], "label": [0, 1]})
    with pytest.raises(
        DataError, match=re.escape("row 1 (the first is 0), column 'input_ids' of the Dataset, must have")
    ):
        samples_of(ragged)
    with pytest.raises(DataError, match="got nan"):
        samples_of(datasets.Dataset.from_dict({"a": [1.0, float("nan")], "label": [0, 1]}))
