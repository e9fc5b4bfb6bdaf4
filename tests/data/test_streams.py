"""Inputs that are read when they are asked for: the same as in memory, and nothing else unnoticed."""

import hashlib

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from infotorch.data import StreamedInputs, batches_of, inputs_digest, row_hashes, samples_of, streamed
from infotorch.errors import DataError


class Items(Dataset):
    """Dicts with ids; ``reads`` counts, ``change`` is added to sample 5 from the second look on."""

    def __init__(self, n=23, change=0.0, dtype=torch.float32):
        rng = torch.Generator().manual_seed(0)
        self.x = (4 * torch.randn(n, 2, 3, generator=rng)).to(dtype)
        self.y = torch.randint(0, 3, (n,), generator=rng)
        self.change, self.reads = change, [0] * n

    def __len__(self):
        return len(self.x)

    def __getitem__(self, place):
        self.reads[place] += 1
        x = self.x[place] + self.change if self.change and place == 5 and self.reads[place] > 1 else self.x[place]
        return {"x": x, "y": int(self.y[place]), "id": f"s{place}", "source": "ab"[place % 2]}


@pytest.mark.parametrize(
    ("dtype", "workers"),
    [(torch.float32, 0), (torch.float64, 0), (torch.bfloat16, 0), (torch.uint8, 0), (torch.float32, 2)],
)
def test_they_are_the_inputs_in_memory(dtype, workers):
    data = Items(dtype=dtype)
    whole = samples_of(data)
    got = streamed(DataLoader(data, batch_size=5, num_workers=workers))
    x = got.x
    assert isinstance(x, StreamedInputs) and len(got) == len(x) == 23 and x.ndim == 3
    assert (x.shape, x.dtype) == (whole.x.shape, dtype)
    assert got.digest() == whole.digest()
    assert got.ids == whole.ids and torch.equal(got.y, whole.y)
    assert np.array_equal(got.metadata["source"], whole.metadata["source"])
    for rows in [slice(3, 11), slice(0, 0), slice(None), torch.tensor([7, 0, 22])]:
        assert torch.equal(x[rows], whole.x[rows])
    parts = list(batches_of(x, 4, 19, 6))
    assert [len(part) for part in parts] == [6, 6, 3] and torch.equal(torch.cat(parts), whole.x[4:19])
    assert torch.equal(torch.cat(list(batches_of(whole.x, 4, 19, 6))), whole.x[4:19])
    assert x.span == (float(whole.x.min()), float(whole.x.max()))


def test_nothing_is_held():
    data = Items()
    x = streamed(data).x
    assert set(data.reads) == {1}
    x[10:12]
    assert data.reads[9:13] == [1, 2, 2, 1]


def test_a_loaders_own_order_stays():
    data, order = Items(), [4, 2, 9, 0]
    got = streamed(DataLoader(data, batch_size=3, sampler=order))
    assert got.ids == ("s4", "s2", "s9", "s0")
    assert torch.equal(got.x[1:4], data.x[order[1:]])


def test_a_sample_that_changes_between_looks_is_named():
    x = streamed(Items(change=1e-3)).x
    assert len(x[:5]) == 5
    with pytest.raises(
        DataError, match=r"must be the same whenever they are read; got another sample 5\. Switch shuffl"
    ):
        x[3:8]


def test_a_data_set_that_shrinks_or_changes_its_shape_is_refused():
    data = Items()
    x = streamed(data).x
    data.x = data.x[:, :1]
    with pytest.raises(
        DataError, match=r"float32 \[2, 3\]; got torch.float32 \[4, 1, 3\] for 4 samples from sample 2 on"
    ):
        x[2:6]
    data.x = data.x[:3]
    with pytest.raises(DataError, match="the data set must keep its 23 samples; got an IndexError"):
        x[2:6]


def test_bad_inputs_are_refused_at_the_first_look():
    data = Items()
    data.x[17, 1, 1] = torch.nan
    with pytest.raises(DataError, match="x must be finite; got nan in sample 17"):
        streamed(data)
    pairs = [(torch.zeros(2 + (place > 8)), 0) for place in range(12)]
    with pytest.raises(
        DataError, match=r"one shape and dtype in all samples, torch.float32 \[2\]; got torch.float32 \[3\]"
    ):
        streamed(DataLoader(pairs, batch_size=9))
    with pytest.raises(DataError, match="must not shuffle"):
        streamed(DataLoader(data, shuffle=True))
    with pytest.raises(DataError, match="at least one sample"):
        streamed(Items(0))
    with pytest.raises(DataError, match="batch_size=None"):
        streamed(DataLoader(data, batch_size=None))

    class Endless(IterableDataset):
        def __iter__(self):
            return iter([])

    for wrong in (Endless(), (torch.zeros(2), torch.zeros(2)), 3):
        with pytest.raises(DataError, match=r"a map-style Dataset or a DataLoader; got (Endless|tuple|int)"):
            streamed(wrong)


def test_what_needs_all_inputs_says_so():
    with pytest.raises(DataError, match="limit: all inputs must be in memory"):
        streamed(TensorDataset(torch.zeros(3, 2), torch.zeros(3))).all_inputs("limit")


def test_rows_have_hashes_of_their_own():
    x = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    a, b, c = row_hashes(x)
    assert a == c != b
    assert np.array_equal(row_hashes(x[1:]), [b, c])


@pytest.mark.parametrize("x", [torch.arange(600.0), torch.arange(3000).reshape(600, 5).t().contiguous().t()])
def test_the_digest_of_all_inputs_is_over_their_hashes(x):
    truth = hashlib.sha256()
    for row in x:
        truth.update(hashlib.blake2b(row.contiguous().numpy().tobytes(), digest_size=8).digest())
    assert inputs_digest(x) == inputs_digest(streamed(TensorDataset(x, torch.zeros(600))).x) == truth.hexdigest()
    assert inputs_digest(x.flip(0)) != truth.hexdigest() and not len(row_hashes(x[:0]))
