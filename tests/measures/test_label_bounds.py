"""Goldens, laws and refusals of Fano's inequality."""

import math

import pytest

from infotorch.errors import ConfigError
from infotorch.measures.label_bounds import fano_min_error, label_info_lower, max_memorised
from tests.train.golden import information

CASES = information()


def close(got, want):
    return abs(got - want) <= 1e-10 * (1 + abs(want))


def test_golden_fano():
    for case in CASES["fano"]:
        assert close(fano_min_error(case["entropy"], case["info"], case["C"]), case["min_error"]), case


def test_golden_max_memorised():
    for case in CASES["max_memorised"]:
        assert close(max_memorised(case["info"], case["n_mislabelled"], case["C"]), case["value"]), case


def test_golden_label_info_lower():
    for case in CASES["label_info_lower"]:
        assert close(label_info_lower(case["error"], case["entropy"], case["C"]), case["value"]), case


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.8])
def test_uniform_noise_without_information_is_not_fitted(p):
    entropy = -p * math.log(p) - (1 - p) * math.log1p(-p) + p * math.log(9)
    assert fano_min_error(entropy, 0.0, 10) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("C", [2, 3, 100])
@pytest.mark.parametrize("info", [0.0, 0.05, 0.6])
def test_the_two_readings_are_inverse(C, info):
    entropy = 0.65
    error = fano_min_error(entropy, info, C)
    assert label_info_lower(error, entropy, C) == pytest.approx(info, abs=1e-10)


def test_ends():
    assert fano_min_error(0.3, 0.3, 5) == 0 and fano_min_error(0.3, 9.0, 5) == 0
    assert fano_min_error(math.log(5) + 5e-10, 0.0, 5) == 0.8
    assert max_memorised(0.0, 8000, 10) == pytest.approx(8000 / 9)
    assert max_memorised(1e9, 8000, 10) == 8000 and max_memorised(3.0, 0, 10) == 0
    assert max_memorised(0.0, 40, 2) == 40


def test_more_information_memorises_more():
    counts = [max_memorised(info, 100, 4) for info in range(0, 120, 10)]
    assert counts == sorted(counts) and counts[0] < counts[5] < counts[-1] == 100


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fano_min_error(-0.1, 0.0, 5), "entropy must be finite and at least 0; got -0.1"),
        (lambda: fano_min_error(0.1, math.nan, 5), "info must be finite and at least 0; got nan"),
        (lambda: fano_min_error(1.7, 0.0, 5), r"entropy must be at most log C = 1.60944 nats; got 1.7"),
        (lambda: fano_min_error(0.1, 0.0, 1), "num_classes must be at least 2; got 1"),
        (lambda: label_info_lower(1.1, 0.1, 5), r"error must lie in \[0, 1\]; got 1.1"),
        (lambda: label_info_lower(0.1, 2.0, 5), "entropy must be at most log C"),
        (lambda: max_memorised(-1.0, 5, 5), "info must be finite and at least 0; got -1"),
        (lambda: max_memorised(1.0, -5, 5), "n_mislabelled must be finite and at least 0; got -5"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ConfigError, match=text):
        call()
