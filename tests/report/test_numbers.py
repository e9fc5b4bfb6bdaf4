"""Numbers as text: three significant digits, thousands, units."""

import math

import numpy as np
import pytest

from infotorch.report.numbers import bits, count, number, percent, power, quantity

GOLDEN = {
    0.0: "0",
    0.5: "0.500",
    1.0: "1.00",
    1.125: "1.13",
    -1.125: "−1.13",
    9.995: "9.99",  # the nearest double is below the tie
    9.996: "10.0",
    1234.5: "1,230",
    999_600: "1.00×10⁶",
    123_456.0: "123,000",
    0.000123456: "0.000123",
    0.0000123456: "1.23×10⁻⁵",
    -2.5e-300: "−2.50×10⁻³⁰⁰",
    math.inf: "∞",
    -math.inf: "−∞",
    math.nan: "not a number",
}


@pytest.mark.parametrize("x", GOLDEN)
def test_three_significant_digits(x):
    assert number(x) == GOLDEN[x]


def test_text_is_within_half_a_unit_of_the_third_digit():
    rng = np.random.default_rng(0)
    for x in rng.normal(size=500) * 10.0 ** rng.integers(-9, 9, 500):
        text = number(x).replace("−", "-").replace(",", "")
        if "×10" in text:
            mantissa, exponent = text.split("×10")
            text = mantissa + "e" + exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        assert abs(float(text) - x) <= 0.5001 * 10 ** (math.floor(math.log10(abs(x))) - 2)


def test_units_are_written():
    assert quantity(2.0, "nats") == "2.00 nats"
    assert quantity(2.0, "nats^2") == "2.00 nats²"
    assert quantity(2.0, "1") == "2.00"


def test_bits_are_nats_over_log_two():
    assert bits(math.log(2), "nats") == "1.00 bits"
    assert bits(1.0, "1") == ""


def test_counts_are_written_in_full():
    assert count(1797) == "1,797"
    assert power(-12) == "10⁻¹²"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (399, 400, "99.8 %"), (1, 400, "0.2 %"), (40, 400, "10 %"), (0, 0, "0 %")],
)
def test_percent_tells_few_from_none_and_most_from_all(part, whole, text):
    assert percent(part, whole).replace("\N{NO-BREAK SPACE}", " ") == text
