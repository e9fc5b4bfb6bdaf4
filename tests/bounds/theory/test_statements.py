"""The table says what holds: every bound on enumerated learners, with their goldens; and the page shows the table."""

import math
import pathlib
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from infotorch.bounds.theory.formulas import formula, plain_lipschitz
from infotorch.bounds.theory.statements import BOUNDS, bounds_table
from tests.bounds import enumerated
from tests.bounds.enumerated import coin_divergence, subsets

CASES = enumerated.load("enumerated_learners")
PROBLEMS = {case["name"]: enumerated.problem(case["spec"]) for case in CASES}
EXPECTED = {case["name"]: case["expected"] for case in CASES}
KINDS = {"cmi": "W", "fcmi": "F", "ecmi": "L"}
LN2 = math.log(2)


def close(want):
    return pytest.approx(want, rel=1e-10, abs=1e-12)


def close_root(want):
    """A root of an information that is 0 up to rounding is 0 up to 1e-7."""
    return (
        [close_root(one) for one in want]
        if isinstance(want, list)
        else close(want)
        if want
        else pytest.approx(0, abs=1e-7)
    )


def of_subsets(problem, kind, m):
    """I^z(.;J_u), [Z, U]."""
    return np.stack([problem.supersample_information(kind, u) for u in subsets(problem.n, m)], axis=1)


def families(problem):
    """The values of every bound with subsets, by id, for m = 1..n."""
    n, law = problem.n, problem.pool_law
    values = {"subset": []} | {id: [] for id in KINDS}
    for m in range(1, n + 1):
        informations = [problem.weight_information(u) for u in subsets(n, m)]
        values["subset"].append(formula("subset", informations, n=n, m=m))
        for id, kind in KINDS.items():
            values[id].append(formula(id, of_subsets(problem, kind, m), n=n, m=m, weights=law))
    return values


def wholes(problem):
    """Whole informations, averaged over supersamples: I(W;J|Z), I(F;J|Z), I(L;J|Z)."""
    every = tuple(range(problem.n))
    return {id: float(problem.pool_law @ problem.supersample_information(kind, every)) for id, kind in KINDS.items()}


def bounds_of(problem):
    """(id, truth, bound) of every bound that needs an information, with the informations enumerated."""
    n, law, risks, whole = problem.n, problem.pool_law, problem.risks, wholes(problem)
    gap, square = abs(risks["exp_gap"]), risks["exp_sq_gap"]
    for id, values in families(problem).items():
        yield from ((id, gap, value) for value in values)
    single = [problem.weight_information((i,)) for i in range(n)]
    pairs = [problem.weight_information(u) for u in subsets(n, 2)]
    weights = problem.weight_information(tuple(range(n)))
    yield "xr", gap, formula("xr", weights, n=n)
    yield "bu", gap, formula("bu", single, n=n)
    yield "cmi", gap, formula("cmi", whole["cmi"], n=n, m=n)
    yield "ld", gap, formula("ld", of_subsets(problem, "D", 1), n=n, weights=law)
    yield "ld_flat", gap, formula("ld_flat", [problem.difference_information(i) for i in range(n)], n=n)
    losses = of_subsets(problem, "L", 1)
    yield "kl", risks["exp_risk"], formula("kl", losses, n=n, weights=law, train_risk=min(1.0, risks["exp_train"]))
    if risks["exp_train"] == 0:
        zero_one = bool(np.isin(problem.loss, (0, 1)).all())
        yield "interp", risks["exp_risk"], formula("interp", losses, n=n, weights=law)
        yield "interp", risks["exp_risk"], formula("interp", losses, n=n, weights=law, zero_one=zero_one)
    for id, kind in (("loo", "W"), ("loo_f", "F")):
        informations, chances = problem.leave_one_out(kind)
        yield id, gap, formula(id, informations[:, None], n=n, weights=chances)
    yield "weight2", square, formula("weight2", weights, n=n)
    yield "fcmi2", square, formula("fcmi2", whole["fcmi"], n=n)
    yield "fcmi2_tight", square, formula("fcmi2_tight", whole["fcmi"], n=n)
    yield "pair2", square, formula("pair2", pairs, n=n)
    yield "pair2", square, formula("pair2", pairs, n=n, constant="paper")
    if problem.outcomes is not None:
        by_seed = [np.eye(len(problem.loss))[outcome] for outcome in problem.outcomes]
        for m in range(1, n + 1):
            informations = [[problem.weight_information(u, one) for u in subsets(n, m)] for one in by_seed]
            yield "seeded", gap, formula("seeded", informations, n=n, m=m)


@pytest.mark.parametrize("name", PROBLEMS)
def test_golden_values(name):
    problem, want = PROBLEMS[name], EXPECTED[name]
    n, law, whole, values = problem.n, problem.pool_law, wholes(problem), families(problem)
    for key, value in problem.risks.items():
        assert value == close(want[key])
    for id, key in (("subset", "weight"), ("cmi", "cmi"), ("fcmi", "fcmi"), ("ecmi", "ecmi")):
        assert values[id] == close_root(want[f"{key}_bound_m"])
    assert whole == close({id: want[id] for id in KINDS})
    assert formula("bu", [problem.weight_information((i,)) for i in range(n)], n=n) == values["subset"][0]
    assert formula("xr", problem.weight_information(tuple(range(n))), n=n) == close_root(values["subset"][-1])
    assert formula("cmi", whole["cmi"], n=n, m=n) == close_root(want["sz_bound"])
    ld = formula("ld", of_subsets(problem, "D", 1), n=n, weights=law)
    assert ld == close_root(want["ld_bound_disintegrated"])
    flat = [problem.difference_information(i) for i in range(n)]
    assert flat == close(want["ld_mi_unconditional"])
    assert formula("ld_flat", flat, n=n) == close_root(want["ld_bound_unconditional"])
    for id, kind in (("loo", "W"), ("loo_f", "F")):
        informations, chances = problem.leave_one_out(kind)
        assert chances @ informations == close(want["loo_cmi" if id == "loo" else "loo_fcmi"])
        assert formula(id, informations[:, None], n=n, weights=chances) == close_root(want[f"{id}_bound"])


@pytest.mark.parametrize("name", PROBLEMS)
def test_golden_squared_gaps_and_fast_rate(name):
    problem, want = PROBLEMS[name], EXPECTED[name]
    n, whole = problem.n, wholes(problem)["fcmi"]
    pairs = [problem.weight_information(u) for u in subsets(n, 2)]
    assert formula("pair2", pairs, n=n, constant="sharp") == close_root(want["pair_sq_bound_derived"])
    assert formula("pair2", pairs, n=n, constant="paper") == close_root(want["pair_sq_bound_paper"])
    assert formula("fcmi2", whole, n=n) == close(want["sq_bound_paper_fcmi"])
    assert formula("fcmi2_tight", whole, n=n, c=2 / 3) == close(want["sq_bound_derived_fcmi"])
    assert formula("fcmi2_tight", whole, n=n) == pytest.approx(want["sq_bound_opt_fcmi"], rel=1e-7)
    level = float(problem.pool_law @ of_subsets(problem, "L", 1).mean(1))
    assert level == close(want["kl_rhs"])
    train, bound = problem.risks["exp_train"], formula("kl", level, n=n, train_risk=problem.risks["exp_train"])
    if level > 1e-12 and bound < 1:
        assert coin_divergence(train, (train + bound) / 2) == close(level)
    assert coin_divergence(train, (train + problem.risks["exp_risk"]) / 2) == close(want["kl_lhs"])
    assert want["kl_lhs"] <= want["kl_rhs"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_bound_holds(name):
    for id, truth, bound in bounds_of(PROBLEMS[name]):
        assert bound >= truth - 1e-12, id


@pytest.mark.parametrize("zero_one", [False, True])
def test_every_bound_holds_for_learners_drawn_at_random(zero_one):
    rng = np.random.default_rng(7)
    for k in range(40):
        problem = enumerated.random_problem(rng, zero_one=zero_one, n=2 + (k % 8 == 0), points=2 + k % 2)
        for id, truth, bound in bounds_of(problem):
            assert bound >= truth - 1e-12, (k, id)


@pytest.mark.parametrize("zero_one", [False, True])
def test_every_bound_holds_for_learners_that_fit_their_samples(zero_one):
    rng = np.random.default_rng(8)
    for k in range(10):
        problem = enumerated.random_interpolator(rng, zero_one=zero_one, points=2 + k % 3)
        bounds = list(bounds_of(problem))
        assert [id for id, _, _ in bounds].count("interp") == 2
        for id, truth, bound in bounds:
            assert bound >= truth - 1e-12, (k, id)


def test_what_is_said_to_be_checked_is_checked():
    seen = {id for name in ("majority_n2_half", "threshold_K4_n2") for id, _, _ in bounds_of(PROBLEMS[name])}
    assert {id for id, bound in BOUNDS.items() if bound.status == "checked"} <= seen


@pytest.mark.parametrize("name", PROBLEMS)
def test_orders(name):
    """Within a supersample ld <= ecmi <= fcmi <= cmi; each family grows with m; informations have their ceilings."""
    problem = PROBLEMS[name]
    n, law, values, whole = problem.n, problem.pool_law, families(problem), wholes(problem)
    ld = formula("ld", of_subsets(problem, "D", 1), n=n, weights=law)
    chain = [ld, values["ecmi"][0], values["fcmi"][0], values["cmi"][0], math.sqrt(2 * LN2)]
    assert all(a <= b + 1e-7 for a, b in pairwise(chain))
    for id, family in values.items():
        assert all(a <= b + 1e-7 for a, b in pairwise(family)), id
    assert values["cmi"][-1] <= formula("cmi", whole["cmi"], n=n, m=n) + 1e-7
    weights = problem.weight_information(tuple(range(n)))
    assert whole["ecmi"] <= whole["fcmi"] + 1e-12
    assert whole["fcmi"] <= whole["cmi"] + 1e-12
    assert whole["cmi"] <= min(weights, n * LN2) + 1e-12
    assert formula("fcmi2_tight", whole["fcmi"], n=n) <= formula("fcmi2_tight", whole["fcmi"], n=n, c=2 / 3)


def test_xor_of_three_bits():
    assert families(PROBLEMS["xor_n3_half"])["fcmi"][0] == pytest.approx(0.147176, abs=5e-7)


@pytest.mark.parametrize("name", PROBLEMS)
def test_classes_bound_the_information_of_predictions(name):
    problem, spec = PROBLEMS[name], next(case["spec"] for case in CASES if case["name"] == name)
    d = spec["K"] if spec["problem"] == "lookup" else 1
    whole = wholes(problem)["fcmi"]
    assert whole <= formula("finite", size=len(problem.loss))
    assert whole <= formula("vc", d=d, n=problem.n)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if not name.startswith("gibbs")])
def test_stability_bounds_the_gap(name):
    """The 0/1 loss of labels 0 and 1 is 1-Lipschitz in the label."""
    problem = PROBLEMS[name]
    beta, beta1, beta2 = problem.stability
    gap, square = abs(problem.risks["exp_gap"]), problem.risks["exp_sq_gap"]
    assert plain_lipschitz(gamma=1.0, beta=beta) >= gap - 1e-12
    sharp, paper = (formula("stable", d=1, gamma=1.0, beta=beta, constant=c) for c in ("sharp", "paper"))
    assert paper >= sharp >= gap - 1e-12
    assert formula("stable2", d=1, gamma=1.0, beta=beta, beta1=beta1, beta2=beta2, n=problem.n) >= square


@pytest.mark.parametrize("k", [1, 2, 3])
def test_an_average_over_bags_moves_by_its_share(k):
    """Majorities of k of three fair bits, averaged; the loss |f - z|."""
    n = 3

    def average(S):
        return np.mean([float(2 * sum(S[i] for i in bag) > k) for bag in combinations(range(n), k)])

    def move(f, size, i):
        changes = [(f(S) - f((*S[:i], z, *S[i + 1 :]))) ** 2 for S in product((0, 1), repeat=size) for z in (0, 1)]
        return math.sqrt(np.mean(changes))

    member = max(move(lambda S: float(2 * sum(S) > k), k, i) for i in range(k))
    assert max(move(average, n, i) for i in range(n)) <= member * k / n + 1e-12
    sets = list(product((0, 1), repeat=n))
    gap = np.mean([0.5 - np.mean([abs(average(S) - z) for z in S]) for S in sets])
    assert abs(gap) <= plain_lipschitz(gamma=1.0, beta=member * k / n) + 1e-12
    bound = formula("bagging", d=1, gamma=1.0, beta=member, k=k, n=n)
    assert bound == formula("stable", d=1, gamma=1.0, beta=member * k / n) >= abs(gap)


def test_every_id_is_there():
    ids = "xr subset bu seeded cmi fcmi ecmi ld ld_flat kl interp loo loo_f weight2 fcmi2 fcmi2_tight pair2 finite vc"
    assert list(BOUNDS) == [*ids.split(), "stable", "stable2", "bagging"]
    assert all(id == bound.id for id, bound in BOUNDS.items())


def test_the_page_shows_the_table():
    page = (pathlib.Path(__file__).parents[3] / "docs" / "bounds-choose.md").read_text()
    shown = page.split("bounds_table() -->\n")[1].split("\n<!-- end of the table -->")[0]
    assert shown == bounds_table(), "put what bounds_table() returns between the two comments of docs/bounds-choose.md"
