"""Golden constants, shapes and refusals of the one function that computes bounds."""

import json
import math

import numpy as np
import pytest
import torch

from infotorch.bounds.theory.formulas import formula, plain_lipschitz, vacuous
from infotorch.bounds.theory.statements import BOUNDS
from infotorch.errors import ConfigError, ShapeError
from tests.bounds import enumerated

LN2 = math.log(2)
INFORMED = {id: bound for id, bound in BOUNDS.items() if bound.information}


def options(id):
    return {"train_risk": 0.2} if id == "kl" else {}


@pytest.mark.parametrize("case", enumerated.load("constants"))
def test_golden_constants(case):
    n, m, nats, sigma = case["n"], case["m"], case["I"], case["sigma"]
    assert formula("subset", nats, n=n, m=m, sigma=sigma) == pytest.approx(case["weight"], rel=1e-12)
    assert formula("seeded", nats, n=n, m=m, sigma=sigma) == pytest.approx(case["weight"], rel=1e-12)
    for id in ("cmi", "fcmi", "ecmi"):
        assert formula(id, nats, n=n, m=m) == pytest.approx(case["cmi"], rel=1e-12)
    assert formula("weight2", nats, n=n, sigma=sigma) == pytest.approx(case["sq_weight_paper"], rel=1e-12)
    assert formula("fcmi2", nats, n=n) == pytest.approx(case["sq_fcmi_paper"], rel=1e-12)
    assert formula("fcmi2_tight", nats, n=n, c=2 / 3) == pytest.approx(case["sq_fcmi_derived"], rel=1e-12)
    assert formula("fcmi2_tight", nats, n=n) == pytest.approx(case["sq_fcmi_opt"], rel=1e-7)
    for id in ("loo", "loo_f"):
        if nats <= math.log(n + 1):
            assert formula(id, nats, n=n) == pytest.approx(case["loo"], rel=1e-12)
        else:
            with pytest.raises(ConfigError, match=r"at most 6.90875 nats; got 50"):
                formula(id, nats, n=n)


def test_golden_stability_and_classes():
    whole = json.loads((enumerated.FOLDER / "constants.json").read_text())
    for case in whole["stability"]:
        setting = {name: case[name] for name in ("d", "gamma", "beta")}
        assert formula("stable", **setting) == pytest.approx(case["derived"], rel=1e-12)
        assert formula("stable", **setting, constant="paper") == pytest.approx(case["paper"], rel=1e-12)
    for case in whole["vc"]:
        nats, n = formula("vc", d=case["d"], n=case["n"]), case["n"]
        assert nats == pytest.approx(case["fcmi"], rel=1e-12)
        assert math.sqrt(2 * nats / n) == pytest.approx(case["bound"], rel=1e-12)
        if nats <= n * LN2:
            assert formula("fcmi", nats, n=n, m=n) == pytest.approx(case["bound"], rel=1e-12)
        else:
            assert vacuous("vc", nats, n=n)
            with pytest.raises(ConfigError, match=r"information must be at most 4.15888 nats; got 11.8232"):
                formula("fcmi", nats, n=n, m=n)


@pytest.mark.parametrize("case", enumerated.load("gaussian_mean"))
def test_golden_mean_of_gaussians(case):
    """An unbounded loss: (sigma2 + var W) chi2_d, whose subgaussian constant to one side is that times √(2d)."""
    n = case["n"]
    spread = (case["sigma2"] + case["sigma2"] / n + case["tau2"]) * math.sqrt(2 * case["d"])
    one = formula("bu", case["I_W_Zi"], n=n, sigma=spread)
    assert one == pytest.approx(case["individual_bound"], rel=1e-12)
    assert formula("bu", [case["I_W_Zi"]] * n, n=n, sigma=spread) == pytest.approx(one, rel=1e-12)
    whole = formula("xr", float(case["I_W_S"]), n=n, sigma=spread)
    assert whole == pytest.approx(float(case["full_bound"]), rel=1e-12)
    assert case["true_gap"] <= one <= whole


# The ids whose statement averages over Z inside the root, or has none.
INSIDE = {"ld_flat", "kl", "interp", "fcmi2", "fcmi2_tight", "weight2"}


@pytest.mark.parametrize("id", INFORMED)
def test_shapes_weights_and_order_of_entries(id):
    """A number stands for equal entries; the mean is over U, then over Z; the order within an axis is of no account."""
    rng = np.random.default_rng(3)
    n, call = 4, options(id) | {"n": 4}
    U = {"samples": n, "subsets": n, "pairs": 6, "": 1}[INFORMED[id].entries]
    number = formula(id, 0.1, **call)
    row = rng.uniform(0, LN2, U)
    assert formula(id, np.full(U, 0.1), **call) == pytest.approx(number, rel=1e-12)
    assert formula(id, np.full((3, U), 0.1), **call, weights=[0.2, 0.3, 0.5]) == pytest.approx(number, rel=1e-12)
    assert formula(id, row[::-1].copy(), **call) == pytest.approx(formula(id, row, **call), rel=1e-12)
    assert formula(id, torch.tensor(row, requires_grad=True), **call) == formula(id, row.tolist(), **call)
    assert formula(id, row[None], **call) == pytest.approx(formula(id, row, **call), rel=1e-12)
    table, weights = rng.uniform(0, LN2, (3, U)), np.array([0.5, 0.5, 0.0])
    assert formula(id, table, **call, weights=weights) == pytest.approx(formula(id, table[:2], **call), rel=1e-12)
    chances = np.array([0.2, 0.3, 0.5])
    rows = [formula(id, one, **call) for one in table]
    want = formula(id, chances @ table, **call) if id in INSIDE else chances @ rows
    assert formula(id, table, **call, weights=chances) == pytest.approx(want, rel=1e-12)


def test_shapes_by_hand():
    """A root of each row's entry, or one root of their mean."""
    table = [[0.02], [0.08]]
    assert formula("xr", table, n=1) == pytest.approx(0.15)
    assert formula("loo", table, n=1) == pytest.approx(0.3)
    assert formula("ld", table, n=1, weights=[0.5, 0.5]) == pytest.approx(0.3)
    assert formula("ld_flat", table, n=1) == pytest.approx(math.sqrt(0.1))
    assert formula("ld_flat", table, n=1, weights=[0.25, 0.75]) == pytest.approx(math.sqrt(0.13))
    assert formula("pair2", table, n=2) == pytest.approx(0.5 + 0.5 * 0.15)


def test_vacuous():
    assert vacuous("fcmi", 1.0)
    assert not vacuous("fcmi", 0.999)
    assert vacuous("kl", formula("kl", 0.6, n=3, train_risk=0.4))
    assert vacuous("fcmi2", formula("fcmi2", 0.0, n=16))
    assert vacuous("stable2", formula("stable2", d=1, gamma=0.0, beta=0.0, beta1=0.0, beta2=0.0, n=32))
    assert vacuous("finite", math.log(8), n=3)
    assert not vacuous("finite", math.log(7), n=3)
    with pytest.raises(ConfigError, match="vacuous: 'vc' needs n; got none"):
        vacuous("vc", 3.0)
    with pytest.raises(ConfigError, match="vacuous: value must be a number; got nan"):
        vacuous("fcmi", math.nan)
    with pytest.raises(ConfigError, match=r"vacuous: id must be one of 'xr'.*got 'f-cmi'. Did you mean 'fcmi'"):
        vacuous("f-cmi", 0.1)


REFUSED = [
    (("f_cmi", 0.1), {"n": 5}, "formula: id must be one of 'xr', .*; got 'f_cmi'. Did you mean 'fcmi'?"),
    (("fcmi",), {"n": 5}, r"formula\('fcmi'\): needs I\^z\(F_u;J_u\), in nats; got none."),
    (("fcmi", 0.1), {}, "n must be given; got no n. Add n=."),
    (("fcmi", 0.1), {"n": 0}, "n must be an int >= 1; got 0."),
    (("fcmi", 0.1), {"n": 5.0}, "n must be an int >= 1; got 5.0."),
    (("fcmi", 0.1), {"n": True}, "n must be an int >= 1; got True."),
    (("fcmi", 0.1), {"n": 5, "m": 6}, "m must be at most n = 5; got 6."),
    (("fcmi", 0.1), {"n": 5, "m": 0}, "m must be an int >= 1; got 0."),
    (("fcmi", 0.1), {"n": 5, "sigma": 1.0}, "options must be of n, m; got sigma. Leave sigma out."),
    (("fcmi", 0.1), {"n": 5, "train_risk": 0.0}, "options must be of n, m; got train_risk."),
    (("bu", 0.1), {"n": 5, "m": 2}, "options must be of n, sigma; got m."),
    (("ld", 0.1), {"n": 5, "m": 2}, "options must be of n; got m."),
    (("bu", 0.1), {"n": 5, "sigma": 0.0}, "sigma must be finite and above 0; got 0.0."),
    (("bu", 0.1), {"n": 5, "sigma": -1}, "sigma must be finite and above 0; got -1."),
    (("bu", 0.1), {"n": 5, "sigma": "half"}, "sigma must be a number; got 'half'."),
    (("bu", -0.1), {"n": 5}, "information must be at least 0; got -0.1. Clip"),
    (("bu", math.nan), {"n": 5}, "information must be at least 0; got nan."),
    (("bu", "x"), {"n": 5}, "information must be numbers; got <U1."),
    (("bu", [0.1, 0.2, -0.3]), {"n": 3}, r"information must be at least 0; got -0.3 at \[2\]."),
    (("fcmi", [[0.1, 1.0]]), {"n": 2}, r"information must be at most 0.693147 nats; got 1 at \[0, 1\]. Pass nats"),
    (("cmi", 1.5), {"n": 5, "m": 2}, "information must be at most 1.38629 nats; got 1.5."),
    (("loo", 1.5), {"n": 3}, "information must be at most 1.38629 nats; got 1.5."),
    (("fcmi2", 2.5), {"n": 3}, "information must be at most 2.07944 nats; got 2.5."),
    (("kl", 0.1), {"n": 3}, "n, train_risk must be given; got no train_risk. Add train_risk=."),
    (("kl", 0.1), {"n": 3, "train_risk": 1.1}, r"train_risk must be in \[0, 1\]; got 1.1."),
    (("interp", 0.1), {"n": 3, "zero_one": 1}, "zero_one must be True or False; got 1."),
    (("fcmi2_tight", 0.1), {"n": 3, "c": 1.0}, r"c must be in \(0, 1\); got 1.0."),
    (("pair2", 0.1), {"n": 3, "constant": "best"}, "constant must be 'sharp' or 'paper'; got 'best'."),
    (("pair2", 0.1), {"n": 1}, "n must be at least 2; got 1. One sample makes no pair."),
    (("finite", 0.1), {"size": 3}, r"formula\('finite'\): takes no information; got one."),
    (("finite",), {"size": 3, "weights": [1.0]}, "takes no weights; got one."),
    (("finite",), {}, "size must be given; got no size."),
    (("finite",), {"size": 0}, "size must be an int >= 1; got 0."),
    (("vc",), {"d": 3}, "d, n must be given; got no n."),
    (("vc",), {"n": 3}, "d, n must be given; got no d."),
    (("stable",), {"d": 1, "gamma": 1.0, "beta": -0.1}, "beta must be finite and at least 0; got -0.1."),
    (("stable",), {"d": 1, "gamma": math.inf, "beta": 0.1}, "gamma must be finite and at least 0; got inf."),
    (("stable2",), {"d": 1, "gamma": 1.0, "beta": 0.1, "n": 9}, "must be given; got no beta1."),
    (("bagging",), {"d": 1, "gamma": 1.0, "beta": 0.1, "k": 9, "n": 5}, "k must be at most n = 5; got 9."),
    (
        ("fcmi", [[0.1, 0.1]]),
        {"n": 2, "weights": [0.9]},
        "weights must be at least 0 and add up to 1; got a sum of 0.9.",
    ),
    (("fcmi", [[0.1, 0.1]] * 2), {"n": 2, "weights": [1.5, -0.5]}, "weights must be at least 0 and add up to 1"),
]


@pytest.mark.parametrize(("arguments", "keywords", "text"), REFUSED)
def test_refusals(arguments, keywords, text):
    with pytest.raises(ConfigError, match=text):
        formula(*arguments, **keywords)


MISSHAPEN = [
    (("xr", [0.1, 0.1]), {"n": 2}, r"information must be a number, \[1\] or \[Z, 1\]; got \[2\]. Pass I\(W;S\)."),
    (("loo", [[0.1, 0.1]]), {"n": 2}, r"information must be a number, \[1\] or \[Z, 1\]; got \[1, 2\]."),
    (("bu", [[0.1]]), {"n": 2}, r"information must end in an axis of 2 samples; got \[1, 1\]."),
    (("fcmi", np.zeros((1, 1, 2))), {"n": 2}, r"information must be a number, \[U\] or \[Z, U\]; got \[1, 1, 2\]."),
    (("fcmi", np.zeros((0, 2))), {"n": 2}, r"got \[0, 2\]."),
    (("fcmi", np.zeros((5, 2))), {"n": 5}, r"information must end in an axis of 5 subsets; got \[5, 2\]."),
    (("fcmi", np.zeros((1, 11))), {"n": 5, "m": 2}, r"must end in an axis of at most 10 subsets; got \[1, 11\]."),
    (("ld", np.zeros(3)), {"n": 5}, r"must end in an axis of 5 samples; got \[3\]."),
    (("pair2", np.zeros(9)), {"n": 3}, r"must end in an axis of 3 pairs; got \[9\]."),
    (("fcmi", [[0.1], [0.1, 0.2]]), {"n": 2}, "information must have rows of one length"),
    (("fcmi", np.zeros((2, 3))), {"n": 3, "weights": [1.0]}, r"weights must be \[2\]; got \[1\]."),
    (("fcmi", 0.1), {"n": 3, "weights": [1.0]}, "weights must be left out, as information has no axis Z"),
]


@pytest.mark.parametrize(("arguments", "keywords", "text"), MISSHAPEN)
def test_shapes_that_are_refused(arguments, keywords, text):
    with pytest.raises(ShapeError, match=text):
        formula(*arguments, **keywords)


def test_plain_lipschitz_refuses():
    with pytest.raises(ConfigError, match="plain_lipschitz: beta must be finite and at least 0; got nan"):
        plain_lipschitz(gamma=1.0, beta=math.nan)
