"""The second net catches a wrong rule and samples that are coupled."""

import pytest
import torch
from torch import nn

from infotorch.capture import capture
from infotorch.capture.layers.linear import Linear, positions
from infotorch.errors import CaptureError, NumericsError
from infotorch.task import Task


class Centered(nn.Module):
    """A forward that mixes samples."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        h = self.first(x)
        return self.second(h - 0.5 * h.mean(0))


@pytest.mark.parametrize("seeds", [None, "logits"])
def test_coupled_samples_are_found(rng, seeds):
    task = Task(Centered().eval(), loss="mse")
    batch = (torch.randn(4, 3, generator=rng), torch.randn(4, 2, generator=rng))
    capture(task, batch, seeds=seeds)
    with pytest.raises(CaptureError, match="must agree with those of each sample alone; got a relative difference of"):
        capture(task, batch, seeds=seeds, verify=True)


@pytest.mark.parametrize("seeds", [None, "logits"])
def test_wrong_rule_is_found(rng, seeds, monkeypatch):
    monkeypatch.setattr(Linear, "bias", lambda self, module, grad: 1.001 * positions(grad).sum(2))
    task = Task(nn.Linear(3, 2).eval(), loss="mse", params=["bias"])
    batch = (torch.randn(4, 3, generator=rng), torch.randn(4, 2, generator=rng))
    with pytest.raises(CaptureError, match="gradients of 'bias' must agree with autograd's gradient of the batch"):
        capture(task, batch, seeds=seeds, verify=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_told_by_its_sample(rng, value):
    factors = torch.tensor([1.0, 1.0, value, value])
    task = Task(nn.Linear(3, 2).eval(), loss=lambda f, _: f.sum(1) * factors)
    batch = (torch.randn(4, 3, generator=rng), torch.zeros(4))
    assert capture(task, batch).losses.isfinite().tolist() == [True, True, False, False]
    message = (
        r"gradients must be finite; got -?(nan|inf) in that of 'weight' for sample 2\. Look at this sample's input"
    )
    with pytest.raises(NumericsError, match=message):
        capture(task, batch, verify=True)


def test_sum_that_vanishes_is_no_failure(rng):
    """At an optimum the batch gradient is zero and only its rounding is left; the scale is that of the samples."""
    x = torch.randn(200, 3, generator=rng)
    y = torch.randn(200, 1, generator=rng)
    model = nn.Linear(3, 1, bias=False).eval()
    model.weight.data = torch.linalg.lstsq(x, y).solution.mT.contiguous()
    cap = capture(Task(model, loss="mse"), (x, y), verify=True)
    assert sum(cap.pairs[""].grad(n) for n in range(200)).norm() < 1e-3 * cap.pairs[""].grad(0).norm()


def test_gradient_that_is_zero_by_symmetry_is_no_failure(rng):
    """A softmax does not see what is added to all keys: their bias has the rounding of the others alone."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return ((self.q(x) @ self.k(x).mT).softmax(-1) @ self.v(x)).mean(1)

    x = torch.randn(3, 5, 4, generator=rng)
    cap = capture(Task(Attends().eval(), loss="mse"), x, seeds="logits", verify=True)
    assert list(cap.pairs) == ["q", "k", "v"]


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)), nn.GRUCell(8, 3)])
def test_half_precision_is_verified_to_its_own_rounding(model, rng):
    task, x = Task(model.eval(), loss="mse"), torch.randn(16, 8, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert capture(task, x, seeds="logits", verify=True).plan.verified
