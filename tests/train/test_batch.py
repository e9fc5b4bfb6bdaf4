"""How batches are split."""

import pytest
import torch

from infotorch.train.batch import batch_of


@pytest.mark.parametrize(("N", "count", "sizes"), [(8, 2, [4, 4]), (7, 3, [2, 2, 3]), (2, 5, [1, 1]), (0, 3, [0])])
def test_parts_hold_every_sample_once(N, count, sizes):
    x = {"a": torch.arange(N), "b": (torch.arange(N) * 2,)}
    parts = batch_of("here", (x, torch.arange(N) * 3, torch.arange(N))).parts(count)
    assert [len(part) for part in parts] == sizes
    assert torch.cat([part.inputs["a"] for part in parts]).tolist() == list(range(N))
    assert torch.cat([part.inputs["b"][0] for part in parts]).tolist() == [2 * n for n in range(N)]
    assert torch.cat([part.labels for part in parts]).tolist() == [3 * n for n in range(N)]
    assert torch.cat([part.ids for part in parts]).tolist() == list(range(N))
