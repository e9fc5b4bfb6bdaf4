import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact, assert_loops


@settings(max_examples=20, deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    padding_idx=st.sampled_from([None, 0, 3, -1]),
    sparse=st.booleans(),
    seed=st.integers(0, 9),
)
def test_embedding_is_exact_with_repeated_ids_and_padding(leading, padding_idx, sparse, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=padding_idx), nn.Tanh(), nn.Linear(3, 2)).double()
    ids = torch.randint(0, 5, (4, *leading))
    assert_exact(model, ids)
    if sparse:
        pair = capture(Task(model, loss="mse"), ids, seeds="logits").pairs["0"]
        model[0].sparse = True
        assert torch.equal(capture(Task(model, loss="mse"), ids, seeds="logits").pairs["0"].grad(0), pair.grad(0))


def test_ids_are_kept_as_ids():
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Flatten()).eval()
    pair = capture(Task(model, loss="mse"), (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, 12))).pairs["0"]
    assert pair.a.dtype == torch.int64 and pair.a.shape == (2, 3) and pair.in_features == 1000 and pair.transposed


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"max_norm": 1.0}, "max_norm changes the weight in each forward"),
        ({"scale_grad_by_freq": True}, "scale_grad_by_freq couples the samples"),
    ],
)
def test_options_without_a_gradient_of_one_sample_are_refused_before_the_forward(options, reason):
    model = nn.Sequential(nn.Embedding(5, 3, **options), nn.Flatten()).eval()
    before = model[0].weight.detach().clone()
    with pytest.raises(CaptureError, match=f"a gradient of its own; got '0': {reason}"):
        capture(Task(model, loss="mse"), (torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 3)))
    assert torch.equal(model[0].weight, before)


class Bags(nn.Module):
    """Ids [N, T] as they are, or as runs that offsets begin."""

    def __init__(self, bag, runs=None, weighted=False):
        super().__init__()
        self.bag, self.runs, self.fc = bag, runs, nn.Linear(3, 2)
        self.weighted = weighted

    def forward(self, ids):
        share = (ids * 0.3 + 0.5).double() if self.weighted else None
        if self.runs is None:
            return self.fc(self.bag(ids, per_sample_weights=share).tanh())
        N, T = ids.shape  # every sample a run of T - 1 ids, and one of its last
        starts = torch.stack([torch.arange(N) * T, torch.arange(N) * T + T - 1], 1).flatten()
        ends = torch.tensor([ids.numel()]) if self.runs == "last" else starts[:0]
        share = None if share is None else share.flatten()
        both = self.bag(ids.flatten(), torch.cat([starts, ends]), share)
        return self.fc(both[::2].tanh() + both[1::2])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(mode=st.sampled_from(["sum", "mean"]), padding_idx=st.sampled_from([None, 1]), weighted=st.booleans())
def test_bags_are_exact(mode, padding_idx, weighted):
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(5, 3, mode=mode, padding_idx=padding_idx)
    model = Bags(bag, weighted=weighted and mode == "sum").double()
    ids = torch.tensor([[0, 1, 4], [1, 1, 1], [2, 2, 0]])
    cap = assert_loops(model, ids)
    assert cap.pairs["bag"].a.dtype == torch.int64


@pytest.mark.parametrize("runs", ["first", "last"])
def test_bags_of_runs_must_be_one_a_sample(runs, rng):
    """Offsets of one run a sample are [N] and taken; two a sample are no batch."""
    bag = nn.EmbeddingBag(5, 3, mode="mean", include_last_offset=runs == "last")

    class One(Bags):
        def forward(self, ids):
            starts = torch.arange(len(ids) + (self.runs == "last")) * ids.shape[1]
            return self.fc(self.bag(ids.flatten(), starts).tanh())

    ids = torch.randint(0, 5, (4, 3), generator=rng)
    cap = assert_loops(One(bag, runs).double(), ids)
    assert cap.pairs["bag"].a.shape == (4, 3) and cap.plan.verified
    with pytest.raises(CaptureError, match="bag  EmbeddingBag  weight: must see one input a sample"):
        capture(Task(Bags(bag, runs).double().eval(), loss="mse"), ids, seeds="logits")


def test_maximum_over_a_bag_is_refused():
    model = nn.Sequential(nn.EmbeddingBag(5, 3, mode="max")).eval()
    with pytest.raises(CaptureError, match="got '0': a maximum over a bag is no product"):
        capture(Task(model, loss="mse"), torch.zeros(2, 1, dtype=torch.int64), seeds="logits")
