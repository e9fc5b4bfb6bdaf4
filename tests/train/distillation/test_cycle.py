"""Passes over the data without end, and their order after a resume."""

import pytest
import torch
from torch.utils.data import DataLoader

from infotorch.errors import DataError
from infotorch.train import rng as generators
from infotorch.train.distillation.cycle import Cycle


def test_passes_follow_each_other():
    cycle = Cycle("here", [1, 2, 3])
    batches = iter(cycle)
    assert [next(batches) for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert (cycle.epoch, cycle.position) == (2, 1)


@pytest.mark.parametrize("own", [True, False], ids=["own generator", "torch's"])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_resume_goes_on_in_the_same_order(own, stop):
    """Within a pass and between two, with what the loop itself draws in between."""

    def loader():
        return DataLoader(range(9), 3, shuffle=True, generator=torch.Generator().manual_seed(1) if own else None)

    def taken(batches, count):
        return [(next(batches).tolist(), torch.rand(1).item()) for _ in range(count)]

    torch.manual_seed(5)
    cycle = Cycle("here", loader())
    batches = iter(cycle)
    taken(batches, stop)
    saved = (cycle.epoch, cycle.position, cycle.epoch_rng, generators.states(cycle.data))
    whole = taken(batches, 8)
    torch.manual_seed(99)
    again = Cycle("here", loader())
    again.resume(*saved)
    assert taken(iter(again), 8) == whole


@pytest.mark.parametrize("data", [[], iter(()), DataLoader([])], ids=["list", "iterator", "loader"])
def test_no_batch(data):
    with pytest.raises(DataError, match=r"^here: data must give at least one batch in each pass; got none. Check its"):
        next(iter(Cycle("here", data)))


def test_an_iterator_has_one_pass():
    batches = iter(Cycle("here", iter([1, 2])))
    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(DataError, match=r"got none in pass 2. Pass a list or a DataLoader, not an iterator"):
        next(batches)


def test_a_resume_on_fewer_batches():
    cycle = Cycle("here", [1])
    now = generators.states()
    cycle.resume(0, 2, now, now)
    with pytest.raises(DataError, match="data must be those of the checkpoint, of 2 batches or more a pass; got fewer"):
        next(iter(cycle))
