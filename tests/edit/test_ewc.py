"""The penalty and its gradient."""

import math

import pytest
import torch

from infotorch import edit
from infotorch.blocks import fisher
from infotorch.errors import ConfigError, NumericsError, ShapeError
from tests.edit.problems import classified, flat, golden, net


def test_golden():
    g = golden()
    w = g["ewc_w"].clone().requires_grad_()
    found = edit.ewc(w, g["ewc_anchor"], g["ewc_fisher"], float(g["ewc_lambda"]))
    found.backward()
    assert float(found.detach()) == pytest.approx(float(g["ewc_penalty"]), rel=1e-9)
    torch.testing.assert_close(w.grad, g["ewc_grad"], rtol=1e-9, atol=1e-12)


def test_gradient_by_finite_differences():
    g = golden()
    w = g["ewc_w"].clone().requires_grad_()
    torch.autograd.gradcheck(lambda w: edit.ewc(w, g["ewc_anchor"], g["ewc_fisher"], 3.0), (w,))


def test_forms_agree_and_a_model_trains_with_it():
    task, x, y = classified()
    F = fisher(task, (x, y), structure="diagonal")
    model = net(seed=1)
    anchor = {name: p.detach() for name, p in task.model.named_parameters()}
    by_name = edit.ewc(dict(model.named_parameters()), anchor, F, 2.0)
    assert edit.ewc(model, task.model.state_dict(), F, 2.0).item() == by_name.item()
    by_vector = edit.ewc(flat(model), flat(task.model), F, 2.0)
    assert by_name.item() == pytest.approx(by_vector.item(), rel=1e-12)
    by_name.backward()
    want = 2.0 * F.values["0.weight"] * (model[0].weight - task.model[0].weight)
    torch.testing.assert_close(model[0].weight.grad, want.detach())
    assert task.model[0].weight.grad is None


def test_sum_and_float32():
    """Parameters without a Fisher are free; the number has the weights' dtype."""
    weights = {"a": torch.tensor([1.0, 3.0]), "head": torch.ones(5)}
    found = edit.ewc(weights, {"a": torch.zeros(2)}, {"a": torch.tensor([2.0, 1.0])}, 4.0)
    assert found.dtype == torch.float32 and float(found) == 22.0
    assert float(edit.ewc(weights["a"], weights["a"], torch.ones(2), 4.0)) == 0


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"strength": -1.0}, ConfigError, "strength must be finite and at least 0; got -1.0"),
        ({"strength": math.nan}, ConfigError, "strength must be finite"),
        ({"fisher": torch.tensor([1.0, -1.0])}, NumericsError, "a Fisher must be finite and at least 0; got -1.0"),
        ({"fisher": torch.tensor([1.0, math.nan])}, NumericsError, "a Fisher must be finite and at least 0; got nan"),
        ({"fisher": torch.ones(3)}, ShapeError, r"got \[2\], \[2\] and \[3\]"),
        ({"anchor": torch.ones(1)}, ShapeError, r"got \[2\], \[1\] and \[2\]"),
        ({"fisher": {"w": torch.ones(2)}}, ConfigError, "all be tensors or all be dicts; got Tensor, Tensor, dict"),
        ({"fisher": 3.0}, ConfigError, "got Tensor, Tensor, float"),
    ],
)
def test_bad_input_is_refused(change, error, text):
    given = {"weights": torch.ones(2), "anchor": torch.zeros(2), "fisher": torch.ones(2), "strength": 1.0} | change
    with pytest.raises(error, match=text):
        edit.ewc(given["weights"], given["anchor"], given["fisher"], given["strength"])


def test_names_that_are_missing_are_refused():
    w = {"w": torch.ones(2)}
    with pytest.raises(ShapeError, match=r"got nothing, nothing and \[2\] for 'v'"):
        edit.ewc(w, w, {"v": torch.ones(2)}, 1.0)
    with pytest.raises(ConfigError, match="fisher must hold a parameter; got none"):
        edit.ewc(w, w, {}, 1.0)
