"""The linearised step against least squares on its own Jacobian, and finite times against matrix exponentials."""

import pytest
import torch
from torch import nn

from infotorch import edit
from infotorch.errors import NumericsError
from infotorch.task import Task
from tests.edit.problems import flat, golden, net, ridge_regression


class Affine(nn.Module):
    """f0 + J (w - w0), with J and the constant as the input."""

    def __init__(self, weights):
        super().__init__()
        self.linear = nn.Linear(len(weights), 1, bias=False).double()
        self.linear.weight.data.copy_(weights[None])

    def forward(self, x):
        return self.linear(x[:, :-1]) + x[:, -1:]


@pytest.mark.parametrize("mu", ["0", "0.5"])
def test_step_of_the_golden(mu):
    g = golden()
    sets = {}
    for s in "rf":
        J = g[f"ntk_J{s}"]
        sets[s] = torch.cat([J, (g[f"ntk_f0{s}"] - J @ g["ntk_w0"])[:, None]], 1), g[f"ntk_Y{s}"][:, None]
    task = Task(Affine(g[f"ntk{mu}_trained"]).eval(), loss="mse")
    options = {"method": "ntk", "ridge": float(mu), "initial": g["ntk_w0"]}
    found = edit.scrub(task, sets["r"], forget=sets["f"], noise=0.0, **options)
    torch.testing.assert_close(found.weights - g[f"ntk{mu}_trained"], g[f"ntk{mu}_step"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.weights, g[f"ntk{mu}_retrained"], rtol=1e-9, atol=1e-12)
    if mu == "0.5":  # the Newton step of a quadratic loss is retraining too, so nothing is left to tell
        found = edit.scrub(task, sets["r"], forget=sets["f"], noise=0.1, **options)
        assert found.bound < 1e-20 and found.residual < 1e-20


@pytest.mark.parametrize(("mu", "atol"), [(0.0, 1e-7), (0.5, 1e-11)])  # the kernel squares the Jacobian's condition
def test_step_is_retraining_of_a_linearised_net(mu, atol, rng):
    """A tanh net of two outputs, its Jacobian by torch.func, its trained and retrained weights by least squares."""
    model = net((3, 4, 2))
    start, P = flat(model), flat(model).numel()
    x = torch.randn(9, 3, generator=rng, dtype=torch.float64)
    y = torch.randn(9, 2, generator=rng, dtype=torch.float64)
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def outputs(w):
        parts = dict(zip(shapes, w.split([s.numel() for s in shapes.values()]), strict=True))
        return torch.func.functional_call(model, {n: part.view(shapes[n]) for n, part in parts.items()}, (x,))

    J, residual = torch.func.jacrev(outputs)(start), y - outputs(start)

    def trained(rows):
        A, b = J[rows].reshape(-1, P), residual[rows].reshape(-1)
        if mu == 0:
            return start + torch.linalg.lstsq(A, b, driver="gelsd").solution
        return start + torch.linalg.solve(A.mT @ A + mu * torch.eye(P, dtype=A.dtype), A.mT @ b)

    task = Task(model, loss="mse")
    first = {name: p.detach().clone() for name, p in model.state_dict().items()}
    now = edit.with_weights(task, trained(slice(0, 9)))
    found = edit.scrub(
        now, (x[3:], y[3:]), forget=(x[:3], y[:3]), method="ntk", noise=0, ridge=mu, initial=first
    )  # fmt: skip
    torch.testing.assert_close(found.weights, trained(slice(3, 9)), rtol=0, atol=atol)


def test_a_singular_kernel_is_refused(rng):
    task = Task(nn.Linear(2, 1).double().eval(), loss="mse")
    x = torch.randn(8, 2, generator=rng, dtype=torch.float64)
    options = {"method": "ntk", "noise": 0, "initial": torch.zeros(3), "forget": (x[:2], x[:2, :1])}
    with pytest.raises(NumericsError, match=r"positive definite with ridge=0; got a pivot .* Raise ridge"):
        edit.scrub(task, (x[2:], x[2:, :1]), **options)


def test_finite_time_is_flow_on_the_retained_data():
    """Both flows in closed form from one start."""
    task, (x, y), (xf, yf), mu = ridge_regression()
    eye = mu * torch.eye(6, dtype=x.dtype)
    B = x.mT @ x + eye
    A = B + xf.mT @ xf
    b = (x.mT @ y)[:, 0]
    a = b + (xf.mT @ yf)[:, 0]
    start, time = torch.linspace(-1, 2, 6, dtype=x.dtype), 0.07

    def flow(H, v):
        end = torch.linalg.solve(H, v)
        return end + torch.matrix_exp(-time * H) @ (start - end)

    now = edit.with_weights(task, flow(A, a))
    options = {"forget": (xf, yf), "method": "newton", "ridge": mu, "noise": 0.0}
    found = edit.scrub(now, (x, y), time=time, **options)
    torch.testing.assert_close(found.weights, flow(B, b), rtol=1e-9, atol=1e-10)
    with pytest.raises(NumericsError, match="short enough to be taken back; got time=1000"):
        edit.scrub(now, (x, y), time=1000.0, **options)
