"""Plug-in information against definitions written out, exact enumerations, goldens and scikit-learn."""

import functools
import itertools
import json
import math
import pathlib
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from infotorch.bounds.theory.information import (
    difference_states,
    loss_states,
    mutual_information,
    null_mean,
    occupied,
    pair_states,
    plugin_mi,
    subset_bits,
    subset_states,
)
from tests.bounds.theory.information_refusals import REFUSALS

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "bounds"
BATCH = np.load(FOLDER / "estimate_batch.npz")
LN2 = math.log(2)


def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())["cases"]


def runs_of(counts):
    """States and bits [K, 1] of a table of counts by bit and state."""
    counts = np.array(counts)
    bits, states = np.nonzero(counts)
    times = counts[bits, states]
    return np.repeat(states, times)[:, None], np.repeat(bits, times)[:, None]


def entropy(values):
    """H of the empirical distribution."""
    return -sum(c / len(values) * math.log(c / len(values)) for c in Counter(values).values())


def definition(states, bits):
    """H(state) + H(bit) - H(state, bit) of one sample's runs."""
    return entropy(states) + entropy(bits) - entropy(list(zip(states, bits, strict=True)))


def columns(*arrays):
    """Every sample's runs as lists."""
    return zip(*(array.T.tolist() for array in arrays), strict=True)


# K, n, n_states, num_bits_states: one run, no or one sample, a sample more or less than a block of 64, one state; on
# either side of every width of keys that are compared, of the most runs that are, and of the largest table; states of
# 64 bits; bits beyond a byte.
SHAPES = [
    (1, 3, 4, 2), (7, 0, 4, 2), (2, 1, 1, 2), (12, 63, 4, 2), (12, 65, 9, 2), (40, 130, 100, 2), (9, 5, 3, 4),
    (30, 7, 2**7, 2), (30, 7, 2**7 + 1, 2), (30, 7, 2**15, 2), (30, 7, 2**15 + 1, 2), (30, 7, 2**31, 2),
    (30, 7, 2**31 + 1, 2), (30, 7, 2**62, 2), (30, 7, 5, 300), (30, 7, 2**20, 2**20), (30, 7, 1, 256),
    (255, 3, 100, 2), (256, 66, 9, 2), (127, 3, 1000, 2), (128, 3, 1000, 4), (63, 3, 2**16, 2), (64, 3, 2**16, 2),
    (64, 3, 2**16 + 1, 2), (200, 3, 2**40, 8), (2000, 34, 5, 2),
]  # fmt: skip


def draw(K, n, n_states, num_bits_states, seed=0):
    """Half of the states among three values, the largest included, and half anywhere."""
    rng = np.random.default_rng(seed)
    few = rng.choice([0, n_states // 2, n_states - 1], (K, n))
    states = np.where(rng.random((K, n)) < 0.5, few, rng.integers(0, n_states, (K, n)))
    return states, rng.integers(0, num_bits_states, (K, n))


@pytest.mark.parametrize("shape", SHAPES)
def test_plugin_is_its_definition(shape):
    states, bits = draw(*shape)
    want = [definition(*runs) for runs in columns(states, bits)]
    got = plugin_mi(states, bits, shape[2], num_bits_states=shape[3])
    assert got.dtype == np.float64 and got.shape == (shape[1],)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_occupied_counts_what_came(shape):
    states, bits = draw(*shape)
    got = occupied(states, bits, shape[2], num_bits_states=shape[3])
    assert got.states.tolist() == [len(set(s)) for s, _ in columns(states, bits)]
    assert got.bits.tolist() == [len(set(b)) for _, b in columns(states, bits)]
    assert got.cells.tolist() == [len(set(zip(s, b, strict=True))) for s, b in columns(states, bits)]


@pytest.mark.parametrize("shape", SHAPES)
def test_miller_madow_subtracts_the_degrees_of_freedom(shape):
    states, bits = draw(*shape)
    came = occupied(states, bits, shape[2], num_bits_states=shape[3])
    got = plugin_mi(states, bits, shape[2], num_bits_states=shape[3], correction="miller_madow")
    plain = plugin_mi(states, bits, shape[2], num_bits_states=shape[3])
    want = plain - (came.cells - came.bits - came.states + 1) / (2 * shape[0])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 1 < shape[0] < 256])
def test_jackknife_leaves_out_every_run_once(shape):
    states, bits = draw(*shape)
    K = shape[0]
    want = [
        K * definition(s, b) - (K - 1) / K * sum(definition(s[:k] + s[k + 1 :], b[:k] + b[k + 1 :]) for k in range(K))
        for s, b in columns(states, bits)
    ]
    got = plugin_mi(states, bits, shape[2], num_bits_states=shape[3], correction="jackknife")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


def test_null_mean_is_the_mean_over_all_permutations():
    for states in ([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2], [3, 3, 3, 3, 3, 3], [0, 1, 2, 3, 4, 5]):
        for bits in ([0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2]):
            every = np.array(list(itertools.permutations(bits))).T  # [6, 720]
            mean = plugin_mi(np.tile(np.array(states)[:, None], every.shape[1]), every, 6, num_bits_states=3).mean()
            got = null_mean(np.array(states)[:, None], np.array(bits)[:, None], 6, num_bits_states=3)
            assert got.item() == pytest.approx(mean, abs=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_null_mean_is_that_of_scikit_learn(shape):
    states, bits = draw(*shape)
    want = [
        expected_mutual_information(contingency_matrix(b, s, sparse=True).astype(np.int64), shape[0])
        for s, b in columns(states, bits)
    ]
    got = null_mean(states, bits, shape[2], num_bits_states=shape[3])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("integer", [np.int8, np.int32, np.uint64, torch.tensor])
def test_integers_of_any_kind(integer):
    """As states.max() + 1 yields them; the square of 12 would overflow in 8 bits."""
    states, bits = draw(30, 4, 5, 2)
    two, three, five, twelve = (integer(v) for v in (2, 3, 5, 12))
    for routine in (plugin_mi, null_mean):
        np.testing.assert_array_equal(
            routine(states, bits, five, num_bits_states=two), routine(states, bits, 5, num_bits_states=2)
        )
    assert occupied(states, bits, five).cells.tolist() == occupied(states, bits, 5).cells.tolist()
    np.testing.assert_array_equal(subset_states(states, five, three), subset_states(states, 5, 3))
    np.testing.assert_array_equal(subset_bits(bits, three), subset_bits(bits, 3))
    labels = np.stack([states, states + 7], -1)
    np.testing.assert_array_equal(pair_states(labels, twelve), pair_states(labels, 12))


def test_golden_count_tables():
    for case in golden("plugin_mi"):
        states, bits = runs_of(case["counts_bit_by_state"])
        n_states = len(case["counts_bit_by_state"][0])
        assert plugin_mi(states, bits, n_states).item() == pytest.approx(case["plugin"], abs=1e-13), case["name"]
        for correction, atol in (("miller_madow", 1e-13), ("jackknife", 1e-11)):
            got = plugin_mi(states, bits, n_states, correction=correction).item()
            assert got == pytest.approx(case[correction], abs=atol), (case["name"], correction)
        got = null_mean(states, bits, n_states).item()
        assert got == pytest.approx(case["permutation_null_mean"], abs=1e-10), case["name"]
        joint = np.array(case["counts_bit_by_state"]) / len(states)
        assert mutual_information(joint) == pytest.approx(case["plugin"], abs=1e-13), case["name"]


@functools.cache
def all_tables(K, S):
    """Every table of K runs by bit and state [tables, 2, S], with its plug-in and Miller-Madow estimates."""
    walls = np.array(list(itertools.combinations(range(K + 2 * S - 1), 2 * S - 1)))
    edges = np.pad(walls, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, K + 2 * S - 1)))
    counts = np.diff(edges, axis=1) - 1
    cells = np.repeat(np.tile(np.arange(2 * S), len(counts)), counts.ravel()).reshape(-1, K).T
    states, bits = cells % S, cells // S
    plugin, corrected = (plugin_mi(states, bits, S, correction=name) for name in ("none", "miller_madow"))
    return counts.reshape(-1, 2, S), plugin, corrected


def chances(counts, p, design):
    """Each table's probability under p(state | bit), exact up to rounding."""
    K = int(counts[0].sum())
    factorial = np.array([float(math.factorial(v)) for v in range(K + 1)])
    rows = (np.power(p, counts) / factorial[counts]).prod((1, 2))
    if design == "iid":
        return rows * factorial[K] / 2**K
    return np.where(counts.sum(2)[:, 0] == K // 2, rows * factorial[K // 2] ** 2, 0.0)


@pytest.mark.parametrize(
    "case", golden("plugin_bias"), ids=lambda case: f"{case['name']}-{case['K2']}-{case['design']}"
)
def test_golden_bias_by_all_count_tables(case):
    """Also the theorem: with as many runs of either bit, the mean plug-in is never below the truth."""
    p = np.array(case["p_state_given_bit"])
    counts, plugin, corrected = all_tables(case["K2"], p.shape[1])
    chance = chances(counts, p, case["design"])
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    truth = mutual_information(p / 2)
    assert truth == pytest.approx(case["true_mi"], abs=1e-12)
    assert chance @ plugin == pytest.approx(case["mean_plugin"], rel=1e-10)
    assert chance @ np.sqrt(2 * plugin) == pytest.approx(case["mean_sqrt2_plugin"], rel=1e-10)
    assert chance @ corrected == pytest.approx(case["mean_miller_madow"], rel=1e-10)
    if case["design"] == "balanced":
        assert chance @ plugin >= truth - 1e-12
    elif case["name"] == "identity":
        assert chance @ plugin < truth - 1e-6  # iid masks: below it, where the state tells the bit


def majority(z):
    w = int(2 * z.sum() > len(z))
    return lambda _z: w


def lookup(z):
    table = {int(x): int(y) for x, y in z}  # the last label seen
    return lambda point: table.get(int(point[0]), 0)


@pytest.mark.parametrize("case", golden("mask_design"), ids=lambda case: case["name"])
def test_golden_mask_designs_by_all_mask_tables(case):
    """Balanced columns and complementary pairs keep the mean at the truth or above it; iid masks may not."""
    z, i, K = np.array(case["ztilde"]), case["sample"], case["K2"]
    z = z.reshape(-1, 2, *z.shape[1:])
    n = len(z)
    learn = {"majority": majority, None: lookup}[case["spec"].get("rule")]
    masks = np.array(list(itertools.product((0, 1), repeat=n)))
    predict = [learn(z[np.arange(n), mask]) for mask in masks]
    state = np.array([2 * f(z[i, 0]) + f(z[i, 1]) for f in predict])  # by mask

    def mean(tables):
        """Of tables of places in `masks`, [tables, K]."""
        return plugin_mi(state[tables].T, masks[tables, i].T, 4).mean()

    every = np.array(list(itertools.product(range(len(masks)), repeat=K)))
    pairs = np.array([(a, len(masks) - 1 - a, b, len(masks) - 1 - b) for a, b in np.ndindex(len(masks), len(masks))])
    balanced = every[(masks[every].sum(1) == K // 2).all(1)]
    truth = mutual_information(
        np.array([[((state == s) & (masks[:, i] == b)).mean() for s in range(4)] for b in (0, 1)])
    )
    assert truth == pytest.approx(case["true_mi"], abs=1e-12)
    assert mean(every) == pytest.approx(case["mean_plugin_iid"], rel=1e-10)
    assert mean(pairs) == pytest.approx(case["mean_plugin_antithetic"], rel=1e-10)
    assert mean(balanced) == pytest.approx(case["mean_plugin_column_balanced"], rel=1e-10)
    assert min(mean(pairs), mean(balanced)) >= truth - 1e-12


@pytest.mark.parametrize("k", range(3))
def test_golden_batch(k):
    masks, predictions, labels = BATCH["masks"][k], BATCH["preds"][k], BATCH["labels"][k]
    C = int(BATCH["C"])
    states, losses = pair_states(predictions, C), (predictions != labels).astype(float)
    for name, got in {
        "mi_f": plugin_mi(states, masks, C * C),
        "mi_miller_madow": plugin_mi(states, masks, C * C, correction="miller_madow"),
        "mi_e": plugin_mi(loss_states(losses)[0], masks, 4),
        "mi_ld": plugin_mi(difference_states(losses)[0], masks, 3),
        "mi_pairs_m2": plugin_mi(subset_states(states, C * C, 2), subset_bits(masks, 2), C**4, num_bits_states=4),
    }.items():
        np.testing.assert_allclose(got, BATCH[name][k], rtol=0, atol=1e-12, err_msg=name)


@st.composite
def grids(draw):
    """Labels [K, n, 2], bits [K, n], C."""
    K, n, C = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, C, (K, n, 2)), rng.integers(0, 2, (K, n)), C, rng


@settings(max_examples=40, deadline=None)
@given(grids())
def test_laws(grid):
    """To the bit: names of classes and order of runs are nothing, columns and bits may change places together."""
    labels, bits, C, rng = grid
    K, n = bits.shape
    for estimate in (
        lambda labels, bits: plugin_mi(pair_states(labels, C), bits, C * C),
        lambda labels, bits: plugin_mi(pair_states(labels, C), bits, C * C, correction="jackknife"),
        lambda labels, bits: plugin_mi(pair_states(labels, C), bits, C * C, correction="miller_madow"),
        lambda labels, bits: null_mean(pair_states(labels, C), bits, C * C),
    ):
        found = estimate(labels, bits)
        runs, samples = rng.permutation(K), rng.permutation(n)
        assert np.array_equal(estimate(rng.permutation(C)[labels], bits), found)
        assert np.array_equal(estimate(labels[:, :, ::-1], 1 - bits), found)
        assert np.array_equal(estimate(labels[runs], bits[runs]), found)
        assert np.array_equal(estimate(labels[:, samples], bits[:, samples]), found[samples])
        assert not estimate(labels, np.ones_like(bits)).any() and not estimate(np.ones_like(labels), bits).any()
        assert not np.signbit(found[found == 0]).any()
    plain, states = plugin_mi(pair_states(labels, C), bits, C * C), pair_states(labels, C)
    assert (plain >= 0).all()
    assert (plain <= np.array([min(entropy(b), math.log(K)) for b in bits.T.tolist()]) + 1e-12).all()
    assert np.array_equal(plugin_mi(bits, states, 2, num_bits_states=C * C), plain)


@settings(max_examples=40, deadline=None)
@given(grids())
def test_data_processing(grid):
    """Differences tell no more than losses, losses no more than predictions, samples no more than their subset."""
    labels, bits, C, rng = grid
    states, true = pair_states(labels, C), rng.integers(0, C, labels.shape[1:])
    by_prediction = plugin_mi(states, bits, C * C)
    for losses in (labels != true, 0.1 * labels + true, np.where(labels == true, 0.25, 0.5)):
        by_loss, by_difference = (plugin_mi(s, bits, S) for s, S in (loss_states(losses), difference_states(losses)))
        assert (by_difference <= by_loss + 1e-12).all() and (by_loss <= by_prediction + 1e-12).all()
    for m in range(1, labels.shape[1] + 1):
        subsets = plugin_mi(subset_states(states, C * C, m), subset_bits(bits, m), C ** (2 * m), num_bits_states=2**m)
        singles = by_prediction[: len(subsets) * m].reshape(-1, m).max(1)
        assert (subsets >= singles - 1e-12).all()


@pytest.mark.parametrize("n_states", [4, 100, 2**17])
def test_the_number_of_threads_is_not_in_the_bits(n_states):
    states, bits = draw(40, 3000, n_states, 2)
    threads = torch.get_num_threads()
    found = {}
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found[count] = [
                plugin_mi(states, bits, n_states).tobytes(),
                plugin_mi(states, bits, n_states, correction="jackknife").tobytes(),
                null_mean(states, bits, n_states).tobytes(),
                occupied(states, bits, n_states).cells.tobytes(),
            ]
    finally:
        torch.set_num_threads(threads)
    assert found[1] == found[2] == found[3]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_any_integers_in_any_layout(dtype):
    states, bits = draw(20, 70, 9, 2)
    want = plugin_mi(states, bits, 9)
    for given_bits in (bits.astype(dtype), bits.astype(bool), np.asfortranarray(bits), torch.tensor(bits)):
        assert np.array_equal(plugin_mi(states.astype(dtype), given_bits, 9), want)
    assert np.array_equal(plugin_mi(np.repeat(states, 2, 1)[:, ::2].astype(dtype), bits.tolist(), 9), want)


def test_independence_in_many_runs_is_zero():
    """The sum's terms are of the size of K ln K; what is left of them is no information."""
    K = 100_000
    states = np.arange(K)[:, None] // 2 % 5
    assert plugin_mi(states, np.arange(K)[:, None] % 2, 5).tolist() == [0.0]


def test_states_of_labels_and_of_losses():
    labels = np.array([[[0, 2], [1, 1]], [[2, 0], [0, 1]]])
    assert pair_states(labels, 3).tolist() == [[2, 4], [6, 1]] and pair_states(labels, 3).dtype == np.int32
    errors = np.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]]])
    for of in (errors, errors.astype(bool), errors.astype(np.float32)):
        states, n_states = loss_states(of)
        assert states.tolist() == [[1, 3], [2, 0]] and n_states == 4
        states, n_states = difference_states(of)
        assert states.tolist() == [[2, 1], [0, 1]] and n_states == 3


def test_other_losses_are_states_by_equality():
    rng = np.random.default_rng(0)
    losses = rng.choice([0.0, 0.1, 0.25, 0.7], (30, 6, 2))
    losses[:, 3] = rng.random((30, 2))  # all different
    losses[::2, 4] = -0.0
    bits = rng.integers(0, 2, (30, 6))
    pairs = [[tuple(pair) for pair in sample] for sample in losses.transpose(1, 0, 2).tolist()]
    both, each = bits.T.tolist(), [[b - a for a, b in sample] for sample in pairs]
    states, n_states = loss_states(losses)
    want = [definition(*runs) for runs in zip(pairs, both, strict=True)]
    np.testing.assert_allclose(plugin_mi(states, bits, n_states), want, atol=1e-13)
    states, n_states = difference_states(losses)
    want = [definition(*runs) for runs in zip(each, both, strict=True)]
    np.testing.assert_allclose(plugin_mi(states, bits, n_states), want, atol=1e-13)


def test_subsets_are_consecutive_and_the_rest_is_dropped():
    assert subset_states([[1, 2, 3, 0, 4]], 5, 2).tolist() == [[7, 15]]
    assert subset_bits([[1, 0, 1, 1, 0]], 2).tolist() == [[2, 3]]
    assert subset_states([[1, 2, 3, 0, 4]], 5, 5).tolist() == [[1 * 625 + 2 * 125 + 3 * 25 + 4]]
    wide = subset_states([[99] * 9], 100, 9)
    assert wide.dtype == np.int64 and wide.item() == 100**9 - 1


def test_exact_information():
    assert mutual_information([[0.5, 0], [0, 0.5]]) == pytest.approx(LN2, abs=1e-15)
    assert mutual_information(np.full((4, 25), 0.01)) == 0 and mutual_information([[1.0]]) == 0
    p = np.random.default_rng(0).dirichlet(np.ones(15)).reshape(3, 5)
    want = sum(p[a, b] * math.log(p[a, b] / (p[a].sum() * p[:, b].sum())) for a in range(3) for b in range(5))
    assert [mutual_information(p), mutual_information(p.T)] == pytest.approx([want, want], abs=1e-15)
    assert mutual_information([[1e-200, 0], [0, 1 - 1e-200]]) < 1e-190  # the product of both sums is no number


@pytest.mark.parametrize(("error", "call", "text"), REFUSALS, ids=[text[:60] for _, _, text in REFUSALS])
def test_refusals(error, call, text):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        call()
