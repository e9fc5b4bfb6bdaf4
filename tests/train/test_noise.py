"""Goldens, laws and refusals of the models of label noise."""

import math

import pytest
import torch

from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.train.noise import flip_labels, pmd, pmd_labels, transition_matrix
from tests.laws import assert_golden, assert_same_bits
from tests.train.golden import load, philox_uniform

KINDS = ("uniform", "symmetric_inclusive", "pair", "cifar10_asym")


@pytest.mark.parametrize("kind", ["uniform", "pair", "cifar10_asym"])
def test_golden_flips(kind):
    case = load(f"flip_{kind}")
    noisy, flipped = flip_labels(case["y"], case["T"], uniforms=case["U"])
    assert torch.equal(noisy, case["y_noisy"]) and torch.equal(flipped, noisy != case["y"])


@pytest.mark.parametrize("kind", ["uniform", "pair", "cifar10_asym"])
def test_golden_matrices_are_of_the_model_and_a_rate(kind):
    T = load(f"flip_{kind}")["T"]
    source = 9 if kind == "cifar10_asym" else 0
    assert_golden(transition_matrix(kind, 10, 1 - float(T[source, source])), T)


def test_golden_pmd():
    case = load("pmd")
    m = case["margin"]
    eta = torch.stack([(1 - m) / 2, (1 + m) / 2], 1)
    for kind, field in (("I", "t1"), ("II", "t2"), ("III", "t3")):
        assert_golden(pmd(eta, kind), case[field], rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_rows_of_a_model_sum_to_one(kind, rate):
    T = transition_matrix(kind, 10, rate)
    assert T.dtype == torch.float64 and (T >= 0).all() and (T.sum(1) - 1).abs().max() < 1e-15


def test_models_by_hand():
    assert_golden(transition_matrix("uniform", 3, 0.1)[1], torch.tensor([0.05, 0.9, 0.05], dtype=torch.float64))
    inclusive = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    assert_golden(transition_matrix("symmetric_inclusive", 4, 0.4)[0], inclusive)
    pair = torch.tensor([[0.8, 0.2, 0], [0, 0.8, 0.2], [0.2, 0, 0.8]], dtype=torch.float64)
    assert_golden(transition_matrix("pair", 3, 0.2), pair)
    one_way, both = (transition_matrix("cifar10_asym", 10, 0.4, both_ways=both) for both in (False, True))
    moved = {(9, 1), (2, 0), (4, 7), (3, 5)}
    assert {tuple(place) for place in (one_way - torch.diag(one_way.diagonal())).nonzero().tolist()} == moved
    assert both[5, 3] == 0.4 and torch.equal(both[:5], one_way[:5])


def test_keyed_labels_follow_from_philox():
    y, T = torch.arange(4), transition_matrix("uniform", 4, 0.7)
    ids = torch.tensor([0, 7, (1 << 33) + 5, 1 << 62])
    draws = [philox_uniform(3 ^ 1 << 63, (0, 0, i & 0xFFFFFFFF, i >> 32)) for i in ids.tolist()]
    want = [next(c for c in range(4) if T[n, : c + 1].sum() > draws[n]) for n in range(4)]
    assert flip_labels(y, T, seed=3, ids=ids)[0].tolist() == want


def test_a_label_follows_from_seed_and_id_alone(rng):
    y, T = torch.randint(5, (300,), generator=rng), transition_matrix("uniform", 5, 0.5)
    noisy, flipped = flip_labels(y, T, seed=1)
    order = torch.randperm(300, generator=rng)[:100]
    assert_same_bits(flip_labels(y[order], T, seed=1, ids=order)[0], noisy[order])
    assert not torch.equal(flip_labels(y, T, seed=2)[0], noisy)
    assert flipped.any() and not flipped.all()


def test_flips_happen_as_often_as_the_model_says():
    N = 40_000
    y = torch.arange(N) % 4
    T = torch.tensor(
        [[0.7, 0.1, 0.2, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64
    )
    noisy, _ = flip_labels(y, T, seed=5)
    counts = torch.zeros(4, 4).double().index_put_((y, noisy), torch.ones(N).double(), accumulate=True) / (N / 4)
    assert (counts - T).abs().max() < 4 * math.sqrt(0.25 / (N / 4))
    assert (counts[T == 0] == 0).all()


def test_no_noise_and_all_noise():
    y = torch.arange(50) % 10
    noisy, flipped = flip_labels(y, transition_matrix("uniform", 10, 0.0))
    assert torch.equal(noisy, y) and not flipped.any()
    noisy, flipped = flip_labels(y, transition_matrix("uniform", 10, 1.0))
    assert flipped.all() and torch.equal(flipped, noisy != y)


def test_rounding_of_a_row_leaves_no_label_without_class():
    T = torch.tensor([[0.5, 0.5 - 5e-7, 0.0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    noisy, _ = flip_labels([0], T, uniforms=[1 - 2.0**-25])
    assert noisy.tolist() == [1]


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_pmd_hits_what_lies_between_classes(kind):
    eta = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
    probability = pmd(eta, kind)
    assert probability[0] > probability[1] > probability[2] == 0
    assert_golden(pmd(eta, kind, factor=2.0), 0.5 + probability / 2)


def test_pmd_labels_are_the_first_or_the_second_class(rng):
    eta = torch.softmax(torch.randn(2000, 5, generator=rng, dtype=torch.float64), 1)
    noisy, flipped = pmd_labels(eta, "I", seed=3)
    top = eta.topk(2).indices
    assert torch.equal(noisy, torch.where(flipped, top[:, 1], top[:, 0]))
    assert abs(flipped.double().mean() - pmd(eta, "I").mean()) < 4 * math.sqrt(0.25 / 2000)
    assert_same_bits(pmd_labels(eta[100:], "I", seed=3, ids=torch.arange(100, 2000))[0], noisy[100:])
    assert torch.equal(pmd_labels(eta[:2], uniforms=[0.0, 0.9])[1], torch.tensor([True, False]))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: transition_matrix("unifrom", 3, 0.1), ConfigError, "Did you mean 'uniform'"),
        (lambda: transition_matrix("uniform", 3, 1.5), ConfigError, r"rate must lie in \[0, 1\]; got 1.5"),
        (lambda: transition_matrix("uniform", 3, math.nan), ConfigError, "got nan"),
        (lambda: transition_matrix("pair", 1, 0.1), ConfigError, "num_classes must be at least 2; got 1"),
        (lambda: transition_matrix("cifar10_asym", 9, 0.1), ConfigError, "10 classes; got 9"),
        (lambda: transition_matrix("pair", 9, 0.1, both_ways=True), ConfigError, "got kind='pair'"),
        (lambda: flip_labels([0, 3], torch.eye(3)), DataError, r"labels must lie in 0..2; got 3 at sample 1"),
        (lambda: flip_labels([-1], torch.eye(3)), DataError, "got -1 at sample 0"),
        (lambda: flip_labels([0.5], torch.eye(3)), DataError, "labels must be integers; got torch.float32"),
        (lambda: flip_labels([[0]], torch.eye(3)), ShapeError, r"y must be \[N\]; got \[1, 1\]"),
        (lambda: flip_labels([0], torch.eye(3)[:2]), ShapeError, r"T must be \[C, C\]; got \[2, 3\]"),
        (lambda: flip_labels([0], torch.eye(3) * 1.1), ConfigError, "got row 0, which sums to 1.1"),
        (lambda: flip_labels([0], [[2.0, -1.0], [0, 1]]), ConfigError, "smallest entry -1"),
        (lambda: flip_labels([0], [[math.nan, 1.0], [0, 1]]), ConfigError, "got row 0"),
        (lambda: flip_labels([0], torch.eye(3), seed=-1), ConfigError, r"seed must be 0 to 2\^63 - 1; got -1"),
        (lambda: flip_labels([0], torch.eye(3), ids=[1, 2]), ShapeError, r"ids must be int64 \[1\]; got torch.int64"),
        (lambda: flip_labels([0], torch.eye(3), uniforms=[1.0]), ConfigError, r"uniforms must lie in \[0, 1\)"),
        (lambda: flip_labels([0], torch.eye(3), uniforms=[0.1, 0.2]), ShapeError, r"uniforms must be \[1\]; got \[2\]"),
        (lambda: pmd([[0.5, 0.5]], "IV"), ConfigError, "kind must be one of 'I', 'II', 'III'; got 'IV'"),
        (lambda: pmd([[0.5, 0.5]], factor=0.5), ConfigError, "factor must be finite and at least 1; got 0.5"),
        (lambda: pmd([0.5, 0.5]), ShapeError, r"eta must be \[N, C\] with C >= 2; got \[2\]"),
        (lambda: pmd([[0.5, 0.6]]), ConfigError, "got a sum of 1.1 at sample 0"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
