import itertools
import json
import math
import pathlib

import numpy as np
import pytest

from infotorch.bounds.theory.sgld import sgld, sgld_account
from infotorch.errors import ConfigError, DataError, ShapeError

GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "golden/bounds/sgld.json").read_text())["cases"]
CASES = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"n={case['n']}")
LR, BETA, V = [0.1, 0.2, 0.1], [3.0, 4.0, 5.0], [2.0, 1.0, 0.5]
SIZES = {"n": 10, "batch": 2}


def of(case):
    return [np.array(case[name]) for name in ("lr", "beta", "trace_var")], {"n": case["n"], "batch": case["batch"]}


@CASES
def test_golden(case):
    (lr, beta, trace_var), sizes = of(case)
    assert sgld(lr, beta, trace_var, **sizes) == pytest.approx(case["derived_bound"], rel=1e-12)
    got = sgld_account(lr, beta, trace_var, **sizes, convention="reference")
    assert got.value == pytest.approx(case["reference_formula"], rel=1e-12)
    assert got.parts["kl_sum"] == pytest.approx(case["kl_sum"], rel=1e-12)


@CASES
def test_noise_of_variance_2_lr_over_beta_cubed_is_that_of_beta_cubed(case):
    """The published sampler's process is Langevin's at inverse temperature beta^3."""
    (lr, beta, trace_var), sizes = of(case)
    want = case["derived_bound_noise_2lr_over_beta3"]
    assert sgld(lr, beta**3, trace_var, **sizes) == pytest.approx(want, rel=1e-12)
    if len(set(beta)) == 1:
        assert want == pytest.approx(beta[0] * case["derived_bound"], rel=1e-12)


@pytest.mark.parametrize("n, batch", [(2, 1), (4, 1), (4, 2), (5, 4), (3, 3)])
def test_a_step_is_the_divergence_of_two_gaussians(n, batch):
    """All batches and all points left out, from per-sample gradients: KL of what is drawn from what a prior draws."""
    rng, lr, beta = np.random.default_rng(n + batch), 0.3, 7.0
    gradients = rng.normal(size=(n, 3))
    divergences = []
    for chosen in itertools.combinations(range(n), batch):
        for left_out in range(n):
            known = gradients.copy()
            known[left_out] = np.delete(gradients, left_out, 0).mean(0)
            shift = -lr * (gradients[list(chosen)].mean(0) - known[list(chosen)].mean(0))
            divergences.append((shift**2).sum() / (2 * (2 * lr / beta)))
    trace_var = ((gradients - gradients.mean(0)) ** 2).sum(1).mean()
    got = sgld_account(lr, beta, [trace_var], n=n, batch=batch)
    assert got.parts["divergence"] == pytest.approx(np.mean(divergences), rel=1e-12)
    # a loss in [0, 1] is 1/2-subgaussian: one point left out gives sqrt(2 (1/2)^2 D / 1)
    assert got.value == pytest.approx(math.sqrt(2 * 0.25 * np.mean(divergences)), rel=1e-12)


def test_runs_are_averaged_inside_the_root():
    runs = [[1.0, 2.0, 3.0], [0.5, 0.0, 9.0]]
    each = [sgld_account(LR, BETA, run, **SIZES) for run in runs]
    both = sgld_account(LR, BETA, runs, **SIZES)
    assert both.parts["mean_of_sqrt"] == pytest.approx(np.mean([one.value for one in each]), rel=1e-12)
    assert both.parts["divergence"] == pytest.approx(np.mean([one.parts["divergence"] for one in each]), rel=1e-12)
    assert both.value == both.parts["sqrt_of_mean"] == math.sqrt(both.parts["divergence"] / 2)
    assert both.value > both.parts["mean_of_sqrt"]
    assert (both.parts["runs"], both.parts["steps"], both.kind) == (2, 3, "estimate")


def test_squares_add_over_steps():
    first, rest = (sgld(LR[part], BETA[part], V[part], **SIZES) for part in (slice(0, 1), slice(1, 3)))
    assert sgld(LR, BETA, V, **SIZES) == pytest.approx(math.hypot(first, rest), rel=1e-12)


def test_one_number_is_that_of_every_step():
    assert sgld(0.1, [3.0] * 3, V, **SIZES) == sgld([0.1] * 3, 3.0, V, **SIZES) == sgld(0.1, 3.0, V, **SIZES)
    assert sgld(0.1, 3.0, 2.0, **SIZES) == sgld([0.1], [3.0], [2.0], **SIZES)


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_a_variance_is_held_until_the_next(steps):
    lr, held = np.arange(1.0, steps + 1), [2.0, 2.0, 1.0, 1.0, 5.0, 5.0][:steps]
    sparse = held[::2]
    assert sgld(lr, 3.0, sparse, **SIZES, every=2) == sgld(lr, 3.0, held, **SIZES)


def test_without_variance_nothing_is_told():
    assert sgld(LR, BETA, [0.0] * 3, **SIZES) == 0.0


@pytest.mark.parametrize(
    "args, options, error, message",
    [
        ((0.1, 1.0, V), {"n": 1}, ConfigError, "sgld: n must be at least 2; got 1."),
        ((0.1, 1.0, V), {"batch": 0}, ConfigError, "sgld: batch must be from 1 to n = 10; got 0."),
        ((0.1, 1.0, V), {"batch": 11}, ConfigError, "sgld: batch must be from 1 to n = 10; got 11."),
        ((0.1, 1.0, V), {"every": 0}, ConfigError, "sgld: every must be at least 1; got 0."),
        ((0.1, 1.0, V), {"convention": "deriv"}, ConfigError, r"got 'deriv'. Did you mean 'derived'\?"),
        ((LR, [1.0, 2.0], V), {}, ShapeError, "lr and beta must be single numbers or of one length; got 3 and 2."),
        ((LR, BETA, V[:2]), {}, ShapeError, "trace_var must have 3 numbers a run for 3 steps, one every 1; got 2."),
        ((LR, BETA, V), {"every": 2}, ShapeError, "must have 2 numbers a run for 3 steps, one every 2; got 3."),
        (([], [], []), {}, ShapeError, "got 0"),
        (([LR], BETA, V), {}, ShapeError, r"lr must be one number or \[T\]; got \[1, 3\]."),
        ((LR, BETA, [[V]]), {}, ShapeError, r"trace_var must be one number, \[T\] or \[K, T\]; got \[1, 1, 3\]."),
        (([0.1, 0.0, 0.1], BETA, V), {}, DataError, "lr must be above 0 at every step; got 0.0."),
        ((LR, [1.0, -1.0, 1.0], V), {}, DataError, "beta must be finite and at least 0; got -1.0 at step 1."),
        ((LR, BETA, [[1.0, math.nan, 1.0]]), {}, DataError, "trace_var must be finite .* got nan at step 1."),
        ((math.inf, BETA, V), {}, DataError, "lr must be finite and at least 0; got inf. Look"),
    ],
)  # fmt: skip
def test_refusals(args, options, error, message):
    with pytest.raises(error, match=message):
        sgld(*args, **{**SIZES, **options})
