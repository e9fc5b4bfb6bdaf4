import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact


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
