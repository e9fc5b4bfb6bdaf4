import copy

import pytest
import torch
from torch import nn

from infotorch.capture import capture
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact


@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 6), (2, 3, 2, 6)])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"eps": 0.3}])
def test_layer_norm_is_exact(shape, options, rng):
    model = nn.Sequential(nn.LayerNorm(6, **options), nn.Tanh(), nn.Linear(6, 2), nn.Flatten()).double()
    model[0].weight.data.normal_(generator=rng)
    assert_exact(model, torch.randn(shape, dtype=torch.float64, generator=rng))


def test_layer_norm_over_several_axes_is_exact(rng):
    model = nn.Sequential(nn.LayerNorm((3, 4)), nn.Tanh(), nn.Flatten()).double()
    assert_exact(model, torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=rng))


@pytest.mark.parametrize(
    "norm, shape",
    [
        (nn.BatchNorm1d, (5, 3)),
        (nn.BatchNorm1d, (5, 3, 4)),
        (nn.BatchNorm2d, (4, 3, 2, 5)),
        (nn.BatchNorm3d, (2, 3, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("frozen", [None, "weight", "bias"])
def test_batch_norm_in_eval_mode_is_exact(norm, shape, frozen, rng):
    model = nn.Sequential(norm(3), nn.Tanh(), nn.Flatten()).double()
    for tensor in (model[0].weight, model[0].bias, model[0].running_mean):
        tensor.data.normal_(generator=rng)
    model[0].running_var.uniform_(0.5, 2.0, generator=rng)
    if frozen:
        getattr(model[0], frozen).requires_grad_(False)
    assert_exact(model, torch.randn(shape, dtype=torch.float64, generator=rng))


def test_norms_used_twice_add_up(rng):
    norm = nn.LayerNorm(4)
    model = nn.Sequential(norm, nn.Tanh(), norm, nn.Tanh()).double()
    cap = assert_exact(model, torch.randn(3, 5, 4, dtype=torch.float64, generator=rng))
    assert list(cap.pairs) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    "norm, shape",
    [
        (nn.RMSNorm(4), (3, 2, 4)),
        (nn.RMSNorm((2, 4), eps=0.3), (3, 5, 2, 4)),
        (nn.GroupNorm(2, 4), (3, 4)),
        (nn.GroupNorm(2, 4), (3, 4, 2, 3)),
        (nn.InstanceNorm1d(3, affine=True), (2, 3, 4)),
        (nn.InstanceNorm2d(3, affine=True, eps=0.1), (2, 3, 2, 3)),
        (nn.InstanceNorm3d(3, affine=True), (2, 3, 2, 2, 2)),
        (nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (2, 3, 2, 3)),
        (nn.PReLU(), (3, 4)),
        (nn.PReLU(4), (3, 4, 2)),
        (nn.PReLU(3), (2, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("frozen", [None, "weight", "bias"])
def test_other_scales_are_exact(norm, shape, frozen, rng):
    model = nn.Sequential(copy.deepcopy(norm), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    model(torch.ones(shape, dtype=torch.float64))
    for tensor in model[0].parameters():
        tensor.data.normal_(generator=rng)
    if frozen and getattr(model[0], frozen, None) is not None:
        getattr(model[0], frozen).requires_grad_(False)
    assert_exact(model, torch.randn(shape, dtype=torch.float64, generator=rng))


def test_instance_norm_of_one_sample_without_its_axis_is_refused():
    class Unbatched(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.InstanceNorm1d(3, affine=True)

        def forward(self, x):  # [N, 4], taken for channels
            return self.norm(x)

    task = Task(Unbatched().eval(), loss="mse")
    with pytest.raises(CaptureError, match="norm  InstanceNorm1d  weight, bias: must see one input a sample"):
        capture(task, torch.randn(3, 4), seeds="logits")


def foreign(forward):
    """A class that passes for one of transformers'."""
    body = {"forward": forward, "__module__": "transformers.models.own", "__init__": _one_weight}
    return type("OwnRMSNorm", (nn.Module,), body)


def _one_weight(self):
    nn.Module.__init__(self)
    self.weight = nn.Parameter(torch.ones(4))


def normalized(x):
    return x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt()


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.weight * normalized(x),
        lambda self, x: (1 + self.weight) * normalized(x),
        lambda self, x: 0.5 + self.weight * normalized(x),
    ],
)
def test_foreign_norms_that_are_linear_in_their_weight_are_exact(forward, rng):
    model = nn.Sequential(foreign(forward)(), nn.Tanh(), nn.Linear(4, 2), nn.Flatten()).double()
    model[0].weight.data.normal_(generator=rng)
    assert_exact(model, torch.randn(3, 2, 4, dtype=torch.float64, generator=rng))


@pytest.mark.parametrize(
    "forward",
    [lambda self, x: self.weight.square() * x, lambda self, x: normalized(x) @ self.weight[:, None]],
)
def test_foreign_norms_that_are_not_are_no_norms(forward):
    model = nn.Sequential(foreign(forward)(), nn.Flatten()).eval()
    with pytest.raises(CaptureError, match=r"0\.weight  parameter of OwnRMSNorm  used 1 time outside a captured layer"):
        capture(Task(model, loss="mse"), torch.randn(3, 2, 4), seeds="logits")
