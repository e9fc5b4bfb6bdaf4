"""Samples from tensors, arrays, data sets and loaders: the same ones, in the same order."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from infotorch.data.samples import Samples
from infotorch.data.sources import inputs_of, samples_of
from infotorch.errors import DataError

X, Y = torch.arange(14.0).reshape(7, 2), torch.arange(7) % 3


class Pairs(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, i):
        return X[i].numpy(), int(Y[i])


class Dicts(Pairs):
    def __getitem__(self, i):
        return {"pixel_values": X[i], "labels": Y[i], "id": f"s{i}", "text": f"t{i}", "source": "ab"[i % 2], "age": i}


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(X[0], 1)])


class Backwards(Sampler):
    def __iter__(self):
        return iter(range(6, -1, -1))

    def __len__(self):
        return 7


class Doubled(Backwards):
    def __iter__(self):
        return iter([0, 0, 1, 2, 3, 4, 5])


class Drawing(Backwards):
    def __iter__(self):
        return iter(torch.randperm(7).tolist())


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        [X, Y],
        (X.numpy(), Y.numpy().astype(np.int32)),
        (X.numpy(), Y.numpy().astype(np.uint8)),
        (X.tolist(), Y.tolist()),
        TensorDataset(X, Y),
        Pairs(),
        list(zip(X, Y, strict=True)),
        Subset(Pairs(), range(7)),
        DataLoader(Pairs(), batch_size=3),
        DataLoader(Pairs(), batch_size=None),
        DataLoader(Pairs(), batch_size=3, num_workers=1),
        DataLoader(Pairs(), batch_size=7, drop_last=True),
        DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(range(7), 2, drop_last=False)),
    ],
    ids=range(14),
)
def test_every_source_gives_the_same_samples(data):
    got = samples_of(data)
    assert got.x.dtype == torch.float32 and got.y.dtype == torch.int64
    assert torch.equal(got.x, X) and torch.equal(got.y, Y) and got.ids == tuple("0123456")


def test_samples_are_themselves():
    samples = Samples(x=X, y=Y, ids=tuple("abcdefg"))
    assert samples_of(samples) is samples


@pytest.mark.parametrize("data", [Dicts(), DataLoader(Dicts(), batch_size=3)], ids=["items", "batches"])
def test_dicts_bring_ids_texts_and_metadata(data):
    got = samples_of(data)
    assert torch.equal(got.x, X) and torch.equal(got.y, Y) and got.ids[6] == "s6" and got.texts[6] == "t6"
    assert got.metadata["source"].tolist() == list("abababa") and got.metadata["age"].tolist() == list(range(7))


@pytest.mark.parametrize("ids", [list("abcdefg"), np.array(list("abcdefg")), torch.arange(10, 17)], ids=["l", "a", "t"])
def test_a_third_entry_is_the_ids(ids):
    got = samples_of((X, Y, ids))
    assert got.ids == tuple(str(i) for i in (ids.tolist() if hasattr(ids, "tolist") else ids))


@pytest.mark.parametrize(
    "sampler",
    [RandomSampler(Pairs()), SubsetRandomSampler(range(7)), WeightedRandomSampler([1] * 7, 7), Drawing()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_shuffling_loader_is_refused(sampler):
    message = f"a loader must not shuffle, for scores belong to places; got {type(sampler).__name__}. "
    with pytest.raises(DataError, match=re.escape(message + "Make the loader with shuffle=False.")):
        samples_of(DataLoader(Pairs(), sampler=sampler))


def test_refusing_a_shuffling_loader_draws_no_random_number():
    before = torch.get_rng_state()
    with pytest.raises(DataError, match="must not shuffle"):
        samples_of(DataLoader(Pairs(), shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sampler_with_a_fixed_order_is_followed():
    got = samples_of(DataLoader(Pairs(), sampler=Backwards(), batch_size=2))
    assert torch.equal(got.x, X.flip(0)) and torch.equal(got.y, Y.flip(0))


def test_a_sampler_that_repeats_is_refused():
    with pytest.raises(DataError, match="a loader must give each sample once; got 7 of which 6 differ, from Doubled"):
        samples_of(DataLoader(Pairs(), sampler=Doubled()))


def test_a_loader_that_drops_samples_is_refused():
    with pytest.raises(DataError, match="got drop_last=True, which leaves 1 out"):
        samples_of(DataLoader(Pairs(), batch_size=3, drop_last=True))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((pair for pair in [(X, Y)]), "data must have a length and a fixed order, as (x, y), a map-style Dataset"),
        (Stream(), "data must have a length and a fixed order"),
        (DataLoader(Stream()), "a loader needs a data set with a length and a fixed order; got an IterableDataset"),
        ("digits.npz", "data must be (x, y), a map-style Dataset, a DataLoader or Samples; got str"),
        (X, "data must be (x, y), a map-style Dataset, a DataLoader or Samples; got Tensor"),
        (7, "data must have a length and a fixed order"),
        ((X,), "a sample must be (x, y), (x, y, id) or a dict; got tuple of 1"),
        ([], "there must be at least one sample; got none"),
        ((X[:0], Y[:0]), "there must be at least one sample; got none"),
        ((X, Y[:5]), "y must have one entry a sample, as x has 7; got 5"),
        (([object()], Y), "x must be a tensor or an array of numbers; got list in item 0"),
        ((np.array(["a"]), Y), "x must be a tensor or an array of numbers; got <U1 array in item 0"),
        ([(X[0], 0), (X[0, :1], 1)], "x must have one shape in all samples, [2]; got [1] in item 1"),
        (
            [(X[0], 0), {"x": X[0], "y": 1, "a": 2}],
            "all samples must have the same fields, x, y; got x, y, a in item 1",
        ),
        (
            [{"x": X[0]}],
            "a dict must have x (x, input, inputs, image, images, img, pixel_values, input_ids) and y (y, label,",
        ),
        ([{"x": X[0], "image": X[0], "y": 1}], "one key must stand for x; got 'image' as well"),
        ([{"x": X[0], "y": 1, "mask": X[0]}], "beside x and y there must be one value a sample; got '(2,)'"),
        (
            [{"x": X[0], "y": 1, "mask": [1] * n} for n in (2, 3)],
            "metadata must be one value a sample; got lists of different length for 'mask'. Leave it out of the sample",
        ),
        (
            [{"text": "a", "label": 0}],
            "got 'text', 'label'. Tokenize it: add input_ids, integers padded to one length.",
        ),
    ],
    ids=range(19),
)
def test_what_has_no_fixed_samples_is_refused(data, message):
    with pytest.raises(DataError, match=re.escape(message)):
        samples_of(data)


def test_gradients_do_not_come_along():
    assert not samples_of((X.clone().requires_grad_(), Y)).x.requires_grad


@pytest.mark.parametrize("data", [X, X.numpy(), (X, Y), Pairs(), DataLoader(Pairs(), batch_size=3)], ids=range(5))
def test_inputs_alone_come_from_every_form(data):
    assert torch.equal(inputs_of(data), X)


def test_inputs_are_checked():
    with pytest.raises(DataError, match=r"x must be finite; got nan in sample 1"):
        inputs_of(np.array([[0.0], [np.nan]]))
    with pytest.raises(DataError, match="there must be at least one sample"):
        inputs_of(np.zeros((0, 2)))
    with pytest.raises(DataError, match="x must be a tensor with one row a sample"):
        inputs_of(np.array(1.0))


class Unreadable(Pairs):
    def __getitem__(self, i):
        if i == 5:
            raise KeyError("img")
        return super().__getitem__(i)


@pytest.mark.parametrize(
    "data, where",
    [
        (Unreadable(), "sample 5"),
        (DataLoader(Unreadable(), batch_size=2), "batch 2"),
        (DataLoader(Unreadable(), batch_size=2, num_workers=1), "batch 2"),
    ],
    ids=["data set", "loader", "worker"],
)
def test_what_cannot_be_read_is_told_with_its_place(data, where):
    what = where.split()[0]
    with pytest.raises(
        DataError, match=f"every {what} of the data set must be readable; got KeyError for {where} .*img"
    ) as told:
        samples_of(data)
    assert isinstance(told.value.__cause__, KeyError) and "\n" not in str(told.value)
