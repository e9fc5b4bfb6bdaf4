import math

import pytest
import torch

from infotorch import Embedding, task_distance
from infotorch.errors import ConfigError, InfotorchError, NumericsError, ShapeError
from infotorch.measures.embedding import KINDS
from tests.laws import assert_golden
from tests.measures.embedding.probes import GOLDEN

E = torch.tensor(GOLDEN["embeddings"])
TRIVIAL = torch.tensor(GOLDEN["trivial"])
NAMES = tuple(f"conv1[{i}]" for i in range(7))


def named(values, **changes):
    fields = {"filters": NAMES[: len(values)], "layers": ("conv1",), "num_samples": 6, "meta": {"method": "fisher"}}
    return Embedding(values=values, **{**fields, **changes})


@pytest.mark.parametrize("kind", ["cosine", "kl", "asymmetric_kl", "variance_cosine", "entropy"])
def test_golden(kind):
    got = [[task_distance(a, b, kind=kind) for b in E[:3]] for a in E[:3]]
    assert_golden(torch.tensor(got, dtype=torch.float64), torch.tensor(GOLDEN[f"distance_{kind}"]), atol=1e-11)


def test_golden_with_a_dead_filter():
    got = torch.tensor([task_distance(E[3], e) for e in E[:3]], dtype=torch.float64)
    assert_golden(got, torch.tensor(GOLDEN["distance_cosine_dead"]))


def test_golden_asymmetric():
    options = {"trivial": TRIVIAL, "alpha": float(GOLDEN["alpha"])}
    got = [[task_distance(a, b, **options) if i != j else 0 for j, b in enumerate(E[:3])] for i, a in enumerate(E[:3])]
    assert_golden(torch.tensor(got, dtype=torch.float64), torch.tensor(GOLDEN["asymmetric"]))


def test_correlation_is_that_of_the_variances():
    truth = 1 - torch.corrcoef(1 / E[:3])
    got = [[task_distance(a, b, kind="correlation") for b in E[:3]] for a in E[:3]]
    assert_golden(torch.tensor(got, dtype=torch.float64), truth, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_at_no_distance_from_itself(kind):
    assert task_distance(E[0], E[0].clone(), kind=kind) == pytest.approx(
        0, abs=1e-13
    )  # of the 1e-8 in the entropy's coins


@pytest.mark.parametrize("kind", ["kl", "asymmetric_kl"])
def test_divergences_are_those_of_gaussians(kind):
    a, b = (torch.distributions.Normal(0.0, e.rsqrt()) for e in E[:2])
    there, back = (torch.distributions.kl_divergence(*pair) for pair in ((a, b), (b, a)))
    truth = float((torch.maximum(there, back) if kind == "kl" else there).sum())
    assert task_distance(E[0], E[1], kind=kind) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "kl", "variance_cosine", "correlation"])
def test_symmetric_kinds_are_symmetric_to_the_bit(kind):
    assert task_distance(E[0], E[1], kind=kind) == task_distance(E[1], E[0], kind=kind)


def test_a_filter_dead_in_both_adds_nothing_to_the_cosine():
    a, b = torch.tensor([0.2, 0.0, 0.7]), torch.tensor([0.4, 0.0, 0.1])
    assert task_distance(a, b) == task_distance(a[[0, 2]], b[[0, 2]])


def test_cosine_forgets_each_scale_where_values_are_far_above_epsilon():
    """Of one filter scaled in both; not of one embedding scaled."""
    c = torch.tensor([2.0, 8.0, 0.5, 1.0, 4.0, 16.0, 2.0], dtype=torch.float64)
    assert task_distance(c * E[0], c * E[1]) == pytest.approx(task_distance(E[0], E[1]), rel=1e-5)


def test_names_of_filters_prior_and_floor():
    prior = torch.linspace(1, 2, 7, dtype=torch.float64)
    got = task_distance(named(E[0], prior_var=prior), named(E[1], prior_var=prior), kind="variance_cosine")
    u, v = 1 / (E[0] * prior), 1 / (E[1] * prior)
    assert got == pytest.approx(float(1 - u @ v / u.norm() / v.norm()), rel=1e-12)
    floored = task_distance(E[3], E[0], kind="kl", floor=0.05)
    assert floored == pytest.approx(task_distance(E[3].clamp(min=0.05), E[0].clamp(min=0.05), kind="kl"), rel=1e-14)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cosine"])
def test_a_filter_that_leaves_a_distance_undefined_is_named(kind):
    a, b = E[0].clone(), E[1].clone()
    a[3] = b[3] = 0
    wanted = rf"must be positive for kind='{kind}'; got 0 at filter conv1\[3\]. Pass floor= or use \"cosine\""
    with pytest.raises(NumericsError, match=wanted):
        task_distance(named(a), named(b), kind=kind)
    with pytest.raises(NumericsError, match=r"at filter \[3\]"):
        task_distance(a, b, kind=kind)
    assert math.isfinite(task_distance(a, b, kind=kind, floor=1e-3))
    if kind == "entropy":  # a coin that always falls on one side has no entropy
        assert math.isfinite(task_distance(a, E[1], kind=kind))


@pytest.mark.parametrize(
    "a, b, options, error, message",
    [
        (E[0], E[1, :6], {}, ShapeError, "as many filters, at least one; got 7 in a, 6 in b"),
        (E[0], E[1][None], {}, ShapeError, r"b must be an Embedding or floats \[F\]; got torch.float64 \[1, 7\]"),
        (E[0], E[1].long(), {}, ShapeError, "b must be an Embedding or floats"),
        (E[0], [1.0], {}, ShapeError, "got list"),
        (E[0, :0], E[1, :0], {}, ShapeError, "at least one"),
        (E[0], torch.zeros(7), {}, NumericsError, "got zeros alone in b"),
        (E[0] * math.nan, E[1], {}, NumericsError, r"got nan at filter \[0\] of a"),
        (E[0], -E[1], {}, NumericsError, r"at least 0; got -0.06.* at filter \[0\] of b"),
        (E[0], E[1], {"kind": "jsd"}, ConfigError, "kind must be one of 'cosine'"),
        (E[0], E[1], {"kind": "cosin"}, ConfigError, "Did you mean 'cosine'?"),
        (E[0], E[1], {"alpha": 0.1}, ConfigError, "got alpha alone"),
        (E[0], E[1], {"trivial": TRIVIAL}, ConfigError, "got trivial alone"),
        (E[0], E[1], {"trivial": TRIVIAL, "alpha": math.nan}, ConfigError, "alpha must be finite; got nan"),
        (E[0], E[1], {"trivial": TRIVIAL[:3], "alpha": 0.1}, ShapeError, "3 in trivial"),
        (E[0], E[1], {"floor": 0.0}, ConfigError, "floor must be finite and above 0; got 0.0"),
        (torch.ones(3), torch.ones(3), {"kind": "correlation"}, NumericsError, "must differ between filters"),
        (named(E[0]), named(E[1], filters=tuple("abcdefg")), {}, ShapeError, r"got conv1\[0\] in a and a in b"),
        (named(E[0]), named(E[1], meta={"method": "variational"}), {}, ConfigError, "made by one method"),
    ],
)
def test_what_has_no_distance_is_refused(a, b, options, error, message):
    with pytest.raises(error, match=message) as caught:
        task_distance(a, b, **options)
    assert isinstance(caught.value, InfotorchError) and str(caught.value).startswith("task_distance: ")
