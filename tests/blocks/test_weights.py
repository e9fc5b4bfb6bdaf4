"""A task at other weights."""

import math

import pytest
import torch
from torch import nn

from infotorch import edit
from infotorch.blocks.weights import own_weights, weights_at, with_weights
from infotorch.errors import ConfigError, NumericsError, ShapeError
from infotorch.task import Task
from tests.edit.problems import classified, flat, net


@pytest.mark.parametrize("form", ["vector", "state dict", "module"])
def test_every_form_sets_the_same_weights(form):
    task, other = Task(net()), net(seed=1)
    given = {"vector": flat(other), "state dict": other.state_dict(), "module": other}[form]
    before = flat(task.model)
    moved = with_weights(task, given)
    assert torch.equal(flat(moved.model), flat(other)) and torch.equal(flat(task.model), before)
    assert torch.equal(own_weights("here", moved), flat(other))


def test_the_model_has_other_weights_for_a_moment():
    task = Task(net())
    before, places = flat(task.model), [p.data_ptr() for p in task.model.parameters()]
    with pytest.raises(KeyError), weights_at(task, 2 * before):
        assert torch.equal(flat(task.model), 2 * before)
        raise KeyError
    assert torch.equal(flat(task.model), before) and places == [p.data_ptr() for p in task.model.parameters()]


def test_tied_parameters_stay_tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    task = Task(model.eval(), loss="mse")
    moved = with_weights(task, torch.arange(15.0)).model
    assert moved[2].weight is moved[0].weight
    assert torch.equal(moved[0].weight.flatten(), torch.arange(9.0)) and torch.equal(model[2].weight, model[0].weight)


def test_misfits_are_refused():
    task = Task(net())
    with pytest.raises(ShapeError, match="with_weights: weights must be"):
        with_weights(task, torch.zeros(7))
    with pytest.raises(ShapeError, match=r"got a difference at '2.weight'"):
        with_weights(task, {n: p for n, p in net().state_dict().items() if n != "2.weight"})
    with pytest.raises(NumericsError, match=r"got inf in '0.weight' of weights"):
        with_weights(task, flat(task.model).index_fill(0, torch.tensor(2), math.inf))


WRONG = {
    "task": lambda task, data: edit.scrub(None, data, noise=0.1),
    "noise": lambda task, data: edit.scrub(task, data, noise=None),
    "damping": lambda task, data: edit.scrub(task, data, noise=0.1, damping="a"),
    "seed": lambda task, data: edit.scrub(task, data, noise=0.1, damping=0.1, seed=None),
    "time": lambda task, data: edit.scrub(task, data, noise=0.1, time=[1]),
    "readouts": lambda task, data: edit.readouts("task", retain=data, forget=data),
    "relearn_lr": lambda task, data: edit.readouts(task, retain=data, forget=data, relearn_to=0.1, relearn_lr=None),
    "relearn_limit": lambda task, data: edit.readouts(
        task, retain=data, forget=data, relearn_to=0.1, relearn_limit=1.5
    ),
    "sensitivity": lambda task, data: edit.sensitivity(None, data),
    "quantiles": lambda task, data: edit.sensitivity(task, data, quantiles=0.5),
    "models": lambda task, data: edit.merge(task.model),
    "fishers": lambda task, data: edit.merge([task.model, task.model], 3),
    "coefficients": lambda task, data: edit.merge([task.model, task.model], coefficients=0.5),
    "a coefficient": lambda task, data: edit.merge([task.model, task.model], coefficients="ab"),
    "favor": lambda task, data: edit.merge([task.model, task.model], favor="0"),
    "floor": lambda task, data: edit.merge([task.model, task.model], floor=None),
    "exclude": lambda task, data: edit.merge([task.model, task.model], exclude=None),
    "normalize": lambda task, data: edit.merge([task.model, task.model], normalize=torch.ones(2)),
    "scores": lambda task, data: edit.mask(torch.ones(3, 3), keep=1),
    "a score": lambda task, data: edit.mask({"a": [1.0]}, keep=1),
    "always": lambda task, data: edit.mask({"a": torch.ones(2)}, keep=1, always=3),
    "strength": lambda task, data: edit.ewc(torch.ones(2), torch.ones(2), torch.ones(2), "1"),
    "with_weights": lambda task, data: edit.with_weights(task.model, torch.ones(3)),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_types_are_told_in_the_houses_words(what):
    task, x, y = classified()
    with pytest.raises(ConfigError, match=r"^\w+: .* must .*; got .*\. [A-Z].*\.$"):
        WRONG[what](task, (x, y))
