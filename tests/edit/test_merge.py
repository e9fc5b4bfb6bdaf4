"""Merged networks against the goldens, laws of an average, and everything that is refused."""

import math

import pytest
import torch
from torch import nn

from infotorch import edit
from infotorch.blocks import Diagonal, fisher
from infotorch.errors import ConfigError, NumericsError, ShapeError
from infotorch.task import Task
from tests.edit.problems import classified, golden, net

OPTIONS = {
    "isotropic": {"fishers": None},
    "plain": {"normalize": False},
    "normalised": {},
    "normalised_favour_first": {"favor": 0},
}


def fisher_like(state, seed, zero=False):
    rng = torch.Generator().manual_seed(seed)
    return {n: 0 * v if zero else torch.rand(v.shape, generator=rng, dtype=torch.float64) for n, v in state.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_golden(name):
    g = golden()
    models, fishers = ([{"a": w[:2], "b": w[2:].view(2, 3)} for w in g[f"merge_{k}"]] for k in ("w", "fisher"))
    options = {"fishers": fishers, "coefficients": g["merge_coeffs"].tolist(), "floor": float(g["merge_floor"])}
    found = edit.merge(models, **(options | OPTIONS[name]))
    flat = torch.cat([found["a"], found["b"].flatten()])
    torch.testing.assert_close(flat, g[f"merge_{name}"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_model_with_itself_is_itself(normalize):
    state = net().state_dict()
    found = edit.merge([net(), state], [fisher_like(state, 1), fisher_like(state, 2)], normalize=normalize)
    for name, value in state.items():
        torch.testing.assert_close(found[name], value)


def test_scaling_all_fishers_changes_nothing():
    one, two = net().state_dict(), net(seed=1).state_dict()
    F = [fisher_like(one, 1), fisher_like(two, 2)]
    plain = edit.merge([one, two], F, floor=0.0)
    scaled = edit.merge([one, two], [{n: 7 * v for n, v in each.items()} for each in F], floor=0.0, normalize=False)
    also = edit.merge([one, two], F, floor=0.0, normalize=False)
    for name in one:
        torch.testing.assert_close(scaled[name], also[name])
    rescaled = edit.merge([one, two], [F[0], {n: 7 * v for n, v in F[1].items()}], floor=0.0)
    for name in one:  # normalized, each may have a scale of its own
        torch.testing.assert_close(rescaled[name], plain[name])


def test_a_model_that_saw_nothing_has_no_say():
    """The norm is that of the Fisher itself: one of zeros is no reason to count for as much as a whole one."""
    models = [{"w": torch.zeros(2)}, {"w": torch.full((2,), 4.0)}]
    found = edit.merge(models, [{"w": torch.ones(2)}, {"w": torch.zeros(2)}])
    assert float(found["w"].abs().max()) < 1e-5


def test_it_is_the_minimum_of_the_summed_divergences():
    """The merged weights minimise sum_m c_m F_m (w - w_m)^2: moving any raises it."""
    one, two = net().state_dict(), net(seed=1).state_dict()
    F = [fisher_like(one, 1), fisher_like(two, 2)]
    w = edit.merge([one, two], F, coefficients=[2.0, 1.0], normalize=False)
    for name in one:
        slope = 2 * F[0][name] * (w[name] - one[name]) + F[1][name] * (w[name] - two[name])
        assert float(slope.abs().max()) < 1e-12


def test_blocks_of_a_task_and_modules_will_do():
    task, x, y = classified()
    other = Task(net(seed=1))
    F = [fisher(each, (x, y), structure="diagonal") for each in (task, other)]
    assert all(isinstance(block, Diagonal) for block in F)
    found = edit.merge([task.model, other.model], F)
    same = edit.merge([task.model.state_dict(), other.model.state_dict()], [block.values for block in F])
    assert all(torch.equal(found[name], same[name]) for name in same)
    fresh = net(seed=2)
    fresh.load_state_dict(found)


def test_inputs_are_left_as_they_are():
    one, two = net(), net(seed=1)
    before = {n: v.clone() for n, v in one.state_dict().items()}
    found = edit.merge([one, two])
    found["0.weight"].zero_()
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_zero_fishers_are_averaged_by_the_floor_and_refused_without():
    one, two = net().state_dict(), net(seed=1).state_dict()
    F = [fisher_like(one, 0, zero=True)] * 2
    for normalize in (True, False):
        found = edit.merge([one, two], F, normalize=normalize)
        torch.testing.assert_close(found["0.weight"], (one["0.weight"] + two["0.weight"]) / 2)
        with pytest.raises(NumericsError, match=r"above 0 at every entry; got only zeros at entry 0 of '0.weight'"):
            edit.merge([one, two], F, normalize=normalize, floor=0.0)
    favored = edit.merge([one, two], F, favor=1)
    for name in two:
        torch.testing.assert_close(favored[name], two[name])


def test_excluded_heads_are_the_favored_models_and_may_differ():
    one, two = net((3, 5, 3)).state_dict(), net((3, 5, 7), seed=1).state_dict()
    with pytest.raises(ShapeError, match=r"got \[3, 5\] for '2.weight' in model 0 and \[7, 5\] in model 1. Exclude it"):
        edit.merge([one, two])
    found = edit.merge([one, two], exclude=["2.*"], favor=1)
    assert torch.equal(found["2.weight"], two["2.weight"]) and list(found) == list(two)
    torch.testing.assert_close(found["0.bias"], (one["0.bias"] + two["0.bias"]) / 2)
    assert torch.equal(edit.merge([one, two], exclude=["2.*"])["2.weight"], one["2.weight"])


def test_statistics_without_a_fisher_must_agree_or_be_excluded():
    def made(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        model(torch.randn(9, 2))
        return model.eval()

    one, two = made(0), made(1)
    F = [{n: torch.ones_like(p) for n, p in m.named_parameters()} for m in (one, two)]
    with pytest.raises(ShapeError, match=r"got none for '1.running_mean' of model 0. Give one, or exclude it"):
        edit.merge([one, two], F)
    found = edit.merge([one, two], F, exclude=["1.running_*"])
    assert torch.equal(found["1.running_mean"], one[1].running_mean)
    assert torch.equal(found["1.num_batches_tracked"], one[1].num_batches_tracked)


def test_a_tied_parameter_has_one_fisher():
    def made(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
        model[2].weight = model[0].weight
        return model.eval()

    models = [made(0), made(1)]
    F = [fisher_like(dict(model.named_parameters()), seed) for seed, model in enumerate(models)]
    found = edit.merge(models, F)
    assert "2.weight" not in F[0] and torch.equal(found["2.weight"], found["0.weight"])
    fresh = made(2)
    fresh.load_state_dict(found)
    alone = edit.merge([dict(m.named_parameters()) for m in models], F)
    assert torch.equal(fresh[0].weight, alone["0.weight"])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"models": [{"w": torch.ones(2)}]}, ConfigError, "at least two models; got 1"),
        ({"models": [{"w": torch.ones(2)}, {"v": torch.ones(2)}]}, ShapeError, r"got \[2\] for 'w' in model 0 and not"),
        ({"models": [{"w": torch.ones(2)}, 3]}, ConfigError, "a module or a dict of tensors; got int as model 1"),
        ({"models": [{"w": torch.ones(2)}, {"w": torch.tensor([1, math.nan])}]}, NumericsError, "got nan in 'w'"),
        ({"fishers": [{"w": torch.ones(2)}]}, ConfigError, "fishers must be one a model; got 1 for 2"),
        ({"fishers": [{"w": torch.ones(2)}, {"w": torch.ones(3)}]}, ShapeError, r"got \[3\] for 'w' of model 1"),
        ({"fishers": [{"w": torch.ones(2)}, {"w": -torch.ones(2)}]}, NumericsError, "got -1.0 in 'w' of model 1"),
        ({"fishers": [{"w": torch.ones(2)}, {"w": torch.tensor([1, math.nan])}]}, NumericsError, "got nan in 'w'"),
        ({"fishers": [{"w": torch.ones(2)}, {}]}, ShapeError, "got none for 'w' of model 1"),
        ({"coefficients": [1.0]}, ConfigError, r"must be 2 finite numbers, at least 0 and not all 0; got \[1.0\]"),
        ({"coefficients": [0.0, 0.0]}, ConfigError, "not all 0"),
        ({"coefficients": [-1.0, 2.0]}, ConfigError, "at least 0 and not all 0"),
        ({"floor": -1.0}, ConfigError, "floor must be finite and at least 0; got -1.0"),
        ({"favor": 2}, ConfigError, "favor must be a number of a model, 0 to 1; got 2"),
        ({"exclude": "head"}, ConfigError, r"exclude must be a list of names or globs; got 'head'"),
        ({"exclude": ["head.*"]}, ConfigError, "must match a parameter; got 'head"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(change, error, text):
    given = {"models": [{"w": torch.ones(2)}, {"w": torch.zeros(2)}]} | change
    with pytest.raises(error, match=text):
        edit.merge(given.pop("models"), **given)
