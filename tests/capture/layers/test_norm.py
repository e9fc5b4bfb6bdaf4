import pytest
import torch
from torch import nn

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
