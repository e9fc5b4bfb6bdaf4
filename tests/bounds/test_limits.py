"""Goldens, laws and refusals of the learners that single samples say nothing about."""

import math

import numpy as np
import pytest

from infotorch.bounds import limits
from infotorch.errors import ConfigError
from tests.bounds import enumerated


@pytest.mark.parametrize("case", enumerated.load("sample_wise_limits"), ids=lambda case: f"{case['N']}-{case['n']}")
def test_golden_coset(case):
    got = limits.coset(case["N"], case["n"])
    for name in case.keys() - {"N"}:
        assert getattr(got, name) == pytest.approx(case[name], rel=0, abs=1e-12), name


@pytest.mark.parametrize(("N", "n"), [(2, 2), (4, 2), (5, 2), (4, 3)])
def test_every_coset_learner_has_a_gap_of_a_half_and_no_information_of_a_sample(N, n):
    got = limits.coset(N, n)
    assert got.I_W_single == got.exp_gap == got.samplewise_bound == 0
    assert got.least_gap == 0.5
    assert got.exp_sq_gap == 0.25 <= got.pair_sq_bound_derived <= got.pair_sq_bound_paper
    if n == 2:
        assert got.I_W_pair == pytest.approx(N * math.log(2), rel=1e-12)


@pytest.mark.parametrize("n", range(2, 6))
def test_xor(n):
    got = limits.xor(n)
    assert got.I_W_single == got.exp_gap == 0
    assert got.exp_sq_gap == pytest.approx(1 / (4 * n), rel=1e-12)
    assert got.I_W_prefix == pytest.approx([0.0] * (n - 1) + [math.log(2)], abs=1e-12)
    assert got.I_W_pair == pytest.approx(math.log(2) if n == 2 else 0, abs=1e-12)
    assert got.ecmi_bound > 0
    if n == 3:
        assert got.ecmi_bound == pytest.approx(0.147176, abs=5e-7)


def test_independent_pairs_leave_only_1_over_n():
    got = limits.xor(4)
    assert got.I_W_pair == 0 and got.exp_sq_gap <= got.pair_sq_bound_derived == 1 / 4


def test_play_against_the_enumerated_oracle():
    """The lookup table of two samples, whose goldens were computed elsewhere."""
    case = next(case for case in enumerated.load("enumerated_learners") if case["name"] == "lookup_K3_n2")
    points = [(x, y) for x in range(3) for y in (0, 1)]
    got = limits.play(
        lambda S: tuple(dict(S).get(x, 0) for x in range(3)),
        lambda w, z: float(w[z[0]] != z[1]),
        points=points,
        n=2,
        supersample=True,
    )
    want = case["expected"]
    assert got.num_points == 6 and got.num_hypotheses == 7
    for name in ("exp_risk", "exp_train", "exp_gap", "exp_sq_gap", "pair_sq_bound_derived", "pair_sq_bound_paper"):
        assert getattr(got, name) == pytest.approx(want[name], rel=1e-10)
    assert got.I_W_single == pytest.approx(max(want["I_W_Zi"]), rel=1e-10)
    assert got.I_W_prefix == pytest.approx([want["I_W_Zi"][0], want["I_W_S"]], rel=1e-10)
    assert got.samplewise_bound == pytest.approx(want["weight_bound_m"][0], rel=1e-10)
    assert got.ecmi_bound == pytest.approx(want["ecmi_bound_m"][0], rel=1e-10)


def test_what_stays_impossible():
    """Learners and losses drawn at random: no gap above bu or ecmi, no squared gap above pair2."""
    rng = np.random.default_rng(11)
    for _ in range(20):
        outcome, losses = rng.integers(3, size=64), rng.random((3, 4))
        got = limits.play(
            lambda S, outcome=outcome: int(outcome[S[0] * 16 + S[1] * 4 + S[2]]),
            lambda w, z, losses=losses: losses[w, z],
            points=range(4),
            n=3,
            supersample=True,
        )
        assert abs(got.exp_gap) <= min(got.samplewise_bound, got.ecmi_bound)
        assert got.exp_sq_gap <= got.pair_sq_bound_derived


def test_a_repeated_point_is_likelier():
    got = limits.play(lambda S: S[0], lambda w, z: float(w != z), points=(0, 0, 0, 1), n=2)
    assert got.exp_risk == pytest.approx(2 * 0.75 * 0.25)
    assert got.exp_train == pytest.approx(0.75 * 0.25)


def test_in_words():
    assert str(limits.coset(3, 2)) == "\n".join(
        [
            "2 samples, uniform on 8 points: all 64 training sets, exactly",
            "I(W;Z_i), largest      0         nats",
            "I(W;Z_i,Z_k), largest  2.07944   nats",
            "I(W;S)                 2.07944   nats",
            "E gap                  0         = 0.5 - 0.5",
            "  bu                   0         bound of |E gap|, from single samples",
            "E gap²                 0.25",
            "  pair2                1.00983   bound of E gap², from pairs, vacuous",
            "|gap|, smallest        0.5       over all training sets",
            "bu bounds the expected gap over training sets, not the gap of this run",
        ]
    )
    assert "  ecmi                 0.147176  bound of |E gap|, from losses of single pairs\n" in str(limits.xor(3))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: limits.coset(2, 3), r"coset: N and n must be ints with 2 <= n <= N; got N = 2, n = 3. Lower n"),
        (lambda: limits.coset(3, 1), "got N = 3, n = 1"),
        (lambda: limits.coset(3.0, 2), "got N = 3.0, n = 2"),
        (lambda: limits.coset(6, 3), "coset: at most 65536 training sets are enumerated; got 262144. Lower n"),
        (lambda: limits.xor(1), "play: n must be an int of at least 2, and points at least one; got n = 1, 2 points"),
        (lambda: limits.xor(7), "at most 1048576 pairs of supersample and mask are enumerated; got 2097152"),
        (lambda: limits.play(min, lambda w, z: 0.0, points=(), n=2), "got n = 2, 0 points"),
        (
            lambda: limits.play(min, lambda w, z: 0.0, points=range(2), n=17),
            "65536 training sets are enumerated; got 131",
        ),
        (
            lambda: limits.play(lambda S: S, lambda w, z: 0.0, points=range(200), n=2),
            "1048576 losses are .* got 8000000",
        ),
        (
            lambda: limits.play(list, lambda w, z: 0.0, points=(0, 1), n=2),
            "learner must return what is hashable; got unh",
        ),
        (
            lambda: limits.play(min, lambda w, z: z - 0.5, points=(0, 1), n=2),
            r"loss must lie in \[0, 1\]; got -0.5 at 0",
        ),
        (
            lambda: limits.play(min, lambda w, z: math.nan, points=(0, 1), n=2),
            r"loss must lie in \[0, 1\]; got nan at 0",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ConfigError, match=text):
        call()


def test_an_error_of_the_learner_is_its_own():
    with pytest.raises(TypeError, match="can only concatenate"):
        limits.play(lambda S: S + 1, lambda w, z: 0.0, points=(0, 1), n=2)
