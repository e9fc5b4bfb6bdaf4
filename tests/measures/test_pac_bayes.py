import math
import pathlib

import numpy as np
import pytest

import infotorch
from infotorch import pac_bayes
from infotorch.errors import ConfigError
from infotorch.table import Estimate
from tests.measures.test_kl_inverse import coin_divergence

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/weights_information/pac_bayes.npz"


def rows():
    with np.load(GOLDEN) as file:
        return [dict(zip(file["columns"].tolist(), row, strict=True)) for row in file["table"].tolist()]


@pytest.mark.parametrize("row", rows(), ids=lambda row: "{emp}-{kl}-{N:.0f}-{delta}-{lam}".format(**row))
def test_goldens(row):
    """From arithmetic with 40 digits, unclipped."""
    given = row["emp"], row["kl"], int(row["N"]), row["delta"]
    found = {
        "mcallester": pac_bayes(*given, form="mcallester", parameter=row["lam"]),
        "catoni_at_C_1_over_lam": pac_bayes(*given, form="catoni", parameter=1 / row["lam"]),
        "seeger": pac_bayes(*given, form="seeger"),
    }
    for name, bound in found.items():
        assert bound.value == pytest.approx(row[name], rel=1e-10)
        assert bound.vacuous == (row[name] >= 1)
        assert isinstance(bound, Estimate) and bound.kind == "bound" and bound.unit == "1"
    assert found["catoni_at_C_1_over_lam"].value <= found["mcallester"].value * (1 + 1e-12)


def test_the_defaults_are_catoni_at_one():
    one = pac_bayes(0.1, 20.0, 500, 0.05)
    assert one.value == pac_bayes(0.1, 20.0, 500, 0.05, form="catoni", parameter=1.0).value
    complexity = (20 + math.log(20)) / 500
    assert one.value == pytest.approx((1 - math.exp(-0.1 - complexity)) / (1 - math.exp(-1)), rel=1e-12)
    by_hand = (0.1 + complexity) / (1 - 1 / 2)
    assert pac_bayes(0.1, 20.0, 500, 0.05, form="mcallester").value == pytest.approx(by_hand, rel=1e-12)
    assert one.parts == {"risk": 0.1, "kl": 20.0, "n": 500.0, "delta": 0.05, "parameter": 1.0}


def test_edges_of_seeger():
    assert pac_bayes(1.0, 3.0, 50, 0.1, form="seeger").value == 1 and pac_bayes(1.0, 3, 50, 0.1, form="seeger").vacuous
    level = math.log(2 * math.sqrt(50) / 0.1) / 50
    assert pac_bayes(0.0, 0.0, 50, 0.1, form="seeger").value == pytest.approx(1 - math.exp(-level), rel=1e-12)
    bound = pac_bayes(0.2, 4.0, 8, 0.1, form="seeger").value
    assert coin_divergence(0.2, bound) == pytest.approx((4 + math.log(2 * math.sqrt(8) / 0.1)) / 8)


def test_values_above_one_stay_as_they_are():
    bound = pac_bayes(0.9, 5000.0, 100, 0.05)
    assert bound.value == pytest.approx(1 / (1 - math.exp(-1))) and bound.vacuous
    assert pac_bayes(0.9, math.inf, 100, 0.05, form="mcallester").vacuous


@pytest.mark.parametrize("form", ["catoni", "mcallester", "seeger"])
def test_it_holds_as_often_as_it_says(form):
    """A learner that picks the better of two coins; the posterior is known, and so is its true risk."""
    rng, n, delta, fails = np.random.default_rng(0), 40, 0.2, 0
    true = np.array([0.3, 0.35])
    for _ in range(2000):
        risks = rng.binomial(n, true) / n
        weights = np.exp(-n * (risks - risks.min()))
        Q = weights / weights.sum()
        kl = sum(q * math.log(2 * q) for q in Q.tolist() if q > 0)
        fails += float(Q @ true) > pac_bayes(float(Q @ risks), kl, n, delta, form=form).value
    assert fails <= delta * 2000


@pytest.mark.parametrize(
    ("given", "options", "text"),
    [
        ((0.1, 1.0, 10, 0.0), {}, "delta must lie between 0 and 1; got 0.0"),
        ((0.1, 1.0, 10, 1.0), {}, "delta must lie between 0 and 1; got 1.0"),
        ((2.3, 1.0, 10, 0.1), {}, r"risk must be of a loss in \[0, 1\]; got 2.3. Pass the 0/1 error, or clip"),
        ((-0.1, 1.0, 10, 0.1), {}, r"risk must be of a loss in \[0, 1\]; got -0.1"),
        ((math.nan, 1.0, 10, 0.1), {}, r"risk must be of a loss in \[0, 1\]; got nan"),
        ((0.1, -1.0, 10, 0.1), {}, "kl must be at least 0; got -1.0"),
        ((0.1, math.nan, 10, 0.1), {}, "kl must be at least 0; got nan"),
        ((0.1, 1.0, 7, 0.1), {"form": "seeger"}, 'n must be at least 8 for form="seeger"'),
        ((0.1, 1.0, 0, 0.1), {}, "n must be a whole number of samples, at least 1; got 0"),
        ((0.1, 1.0, 10.5, 0.1), {}, "n must be a whole number of samples, at least 1; got 10.5"),
        ((0.1, 1.0, 10, 0.1), {"parameter": 0.0}, 'parameter must be finite and above 0 for form="catoni"; got 0.0'),
        (
            (0.1, 1.0, 10, 0.1), {"form": "mcallester", "parameter": 0.5},
            'parameter must be finite and above 0.5 for form="mcallester"; got 0.5',
        ),
        ((0.1, 1.0, 10, 0.1), {"parameter": math.nan}, "parameter must be finite and above 0"),
        ((0.1, 1.0, 10, 0.1), {"form": "seeger", "parameter": 1.0}, 'form="seeger" has no parameter; got 1.0'),
        ((0.1, 1.0, 10, 0.1), {"form": "maurer"}, "form must be one of 'catoni', 'mcallester', 'seeger'; got 'maurer'"),
    ],
)  # fmt: skip
def test_misuse(given, options, text):
    with pytest.raises(ConfigError, match=f"^pac_bayes: {text}"):
        pac_bayes(*given, **options)


def test_it_is_public():
    assert infotorch.pac_bayes is pac_bayes
