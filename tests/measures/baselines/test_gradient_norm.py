import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch import Task
from infotorch.errors import CaptureError, ConfigError
from infotorch.measures import EL2N, GradientNorm
from tests.laws import assert_same
from tests.measures.baselines.doubles import binary, classifier


def values(task, x, y, **options):
    return torch.from_numpy(GradientNorm().scores(task, x, y, **options).values)


def truth(model, loss, x, y, params=None):
    """By one backward a sample."""
    chosen = [p for name, p in model.named_parameters() if params is None or name in params]
    norms = []
    for n in range(len(x)):
        grads = torch.autograd.grad(loss(model(x[n : n + 1]), y[n : n + 1]).sum(), chosen)
        norms.append(torch.cat([g.flatten() for g in grads]).norm())
    return torch.stack(norms)


def test_it_is_that_of_a_loop_of_backwards(rng):
    task, x, y = classifier(rng)
    assert_same(values(task, x, y), truth(task.model, F.cross_entropy, x, y))


def test_selected_parameters_alone(rng):
    task, x, y = classifier(rng)
    last = Task(task.model, params=["2.*"])
    assert_same(values(last, x, y), truth(task.model, F.cross_entropy, x, y, {"2.weight", "2.bias"}))


def test_convolutions(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double().eval()
    x, y = torch.randn(5, 2, 4, 4, generator=rng).double(), torch.randint(3, (5,), generator=rng)
    assert_same(values(Task(model), x, y), truth(model, F.cross_entropy, x, y))


def test_soft_targets_and_a_binary_loss(rng):
    task, x, _ = classifier(rng)
    t = torch.rand(11, 3, generator=rng, dtype=torch.float64).softmax(1)
    assert_same(values(task, x, t), truth(task.model, F.cross_entropy, x, t))
    task, x, y = binary(rng)
    loss = F.binary_cross_entropy_with_logits
    assert_same(values(task, x, y), truth(task.model, loss, x, y[:, None]))


def test_with_an_input_of_ones_and_one_layer_it_is_el2n(rng):
    """The last bias's gradient is softmax - onehot."""
    task, x, y = classifier(rng)
    bias = Task(task.model, params=["2.bias"])
    assert_same(values(bias, x, y), torch.from_numpy(EL2N().scores(task, x, y).values))


def test_the_limit_is_passed_on(rng):
    task, x, y = classifier(rng)
    with pytest.raises(ConfigError, match="per_sample_grad_norms: memory_limit must hold one sample"):
        values(task, x, y, memory_limit=100)


def test_parameters_outside_of_layers_are_refused_by_name_or_fall_back(rng):
    task, x, y = classifier(rng)
    odd = nn.ParameterDict({"scale": nn.Parameter(torch.ones(3, dtype=torch.float64))}).eval()
    scaled = Task(odd, forward=lambda model, x: task.model(x) * model["scale"])
    with pytest.raises(CaptureError, match="ParameterDict  scale\n"):
        values(scaled, x, y)
    got = GradientNorm(fallback="func").scores(scaled, x, y).values
    f = task.model(x).detach()
    error = f.softmax(1) - F.one_hot(y, 3)
    assert_same(torch.from_numpy(got), (error * f).norm(dim=1))
