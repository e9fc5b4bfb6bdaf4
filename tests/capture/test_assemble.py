"""Uses of one parameter in several places become one pair, with their cross terms."""

import copy

import pytest
import torch
from torch import nn

from infotorch import ops
from infotorch.blocks import ntk
from infotorch.capture import capture
from infotorch.task import Task
from tests import oracles
from tests.capture.agreement import assert_exact
from tests.laws import assert_same


class Tied(nn.Module):
    """A toy language model whose head is its embedding."""

    def __init__(self, bias=True, padding_idx=None):
        super().__init__()
        self.emb = nn.Embedding(7, 4, padding_idx=padding_idx)
        self.fc = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=bias)
        self.head.weight = self.emb.weight

    def forward(self, ids):
        return self.head(self.fc(self.emb(ids)).tanh()).mean(1)


def double(model, rng):
    model = model.double().eval()
    for p in model.parameters():
        p.data.normal_(generator=rng)
    return model


def test_module_used_twice_is_one_pair_along_T(rng):
    fc = nn.Linear(4, 4)
    model = double(nn.Sequential(fc, nn.Tanh(), fc, nn.Tanh(), nn.Linear(4, 2)), rng)
    cap = assert_exact(model, torch.randn(5, 4, dtype=torch.float64, generator=rng))
    assert cap.pairs["0"].T == 2 and cap.pairs["0"].bias


def test_two_linears_with_one_weight_keep_their_own_biases(rng):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    cap = assert_exact(double(model, rng), torch.randn(5, 4, dtype=torch.float64, generator=rng))
    assert list(cap.pairs) == ["0", "0.bias", "2.bias"] and not cap.pairs["0"].bias


def test_two_linears_with_one_bias_keep_their_own_weights(rng):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].bias = model[0].bias
    assert_exact(double(model, rng), torch.randn(5, 3, 4, dtype=torch.float64, generator=rng))


def test_convolutions_of_other_strides_with_one_weight(rng):
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Tanh(), nn.Conv2d(2, 2, 3, stride=2, dilation=2), nn.Flatten())
    model[2].weight = model[0].weight
    assert_exact(double(model, rng), torch.randn(2, 2, 10, 9, dtype=torch.float64, generator=rng))


def test_head_tied_to_the_embedding_is_exact(rng):
    for options in ({}, {"bias": False}, {"padding_idx": 2}):
        assert_exact(double(Tied(**options), rng), torch.randint(0, 7, (3, 5), generator=rng))


def test_tied_norms_have_their_cross_terms(rng):
    """The squared norm of a tied matrix is that of the sum of its uses, not the sum of their squares."""
    model = double(Tied(), rng)
    ids, y = torch.randint(0, 7, (3, 5), generator=rng), torch.randint(0, 7, (3,), generator=rng)
    pair = capture(Task(model, params=["emb.weight"]), (ids, y)).pairs["emb"]
    truth = torch.stack([pair.grad(n).square().sum() for n in range(3)])
    torch.testing.assert_close(ops.norms(pair.a, pair.b, **pair.geometry), truth, rtol=1e-12, atol=0)
    assert pair.transposed and pair.a.dtype == torch.float64


def test_embedding_used_in_two_places_stays_ids(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Embedding(6, 3), nn.Embedding(6, 3, padding_idx=0)
            self.right.weight = self.left.weight

        def forward(self, ids):
            return (self.left(ids) * self.right(ids.flip(1))).sum(1).tanh()

    cap = assert_exact(double(Two(), rng), torch.randint(0, 6, (4, 3), generator=rng))
    assert cap.pairs["left"].a.dtype == torch.int64 and cap.pairs["left"].T == 6


def test_scale_of_a_norm_tied_to_a_bias(rng):
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh())
    model[1].weight = model[0].bias
    assert_exact(double(model, rng), torch.randn(3, 4, dtype=torch.float64, generator=rng))


def test_matrix_that_is_also_a_norm_scale_is_formed(rng):
    """A parameter with no common factors is added up as gradients."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm((3, 3)), nn.Linear(3, 3)
            self.fc.weight = self.norm.weight

        def forward(self, x):
            return self.fc(self.norm(x)).tanh().flatten(1)

    cap = assert_exact(double(Odd(), rng), torch.randn(4, 3, 3, dtype=torch.float64, generator=rng))
    assert list(cap.pairs) == ["norm.weight", "norm.bias", "fc.bias"]


def test_pairs_are_in_parameter_order_whatever_the_order_of_calls(rng):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(3, 3)

        def forward(self, x):
            return self.last(self.first(x).tanh())

    assert list(assert_exact(double(Backwards(), rng), torch.ones(2, 3, dtype=torch.float64)).pairs) == [
        "last",
        "first",
    ]


@pytest.mark.parametrize("bias", [True, False])
def test_output_layer_that_is_also_a_hidden_one(bias, rng):
    """Its output is the model's in one call of two: the unit seeds of that call are not those of the layer."""
    fc = nn.Linear(4, 4, bias=bias)
    model = double(nn.Sequential(fc, nn.Tanh(), fc), rng)
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    cap = assert_exact(model, x)
    assert cap.pairs["0"].T == 2
    J = oracles.jacobian(copy.deepcopy(model), x)  # [N, C, P]
    assert_same(ntk(Task(model, loss="mse"), x).values, torch.einsum("ncp,mdp->ncmd", J, J))
