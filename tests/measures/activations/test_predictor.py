import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch import Task, activations_information
from infotorch.measures.activations.noise import weight_noise
from infotorch.measures.activations.predictor import summed_losses


def make(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    x = torch.randn(6, 4, dtype=torch.float64, generator=rng)
    return model, x, torch.randint(3, (6,), generator=rng)


def test_losses_are_those_of_a_model_with_the_drawn_weights(rng):
    model, x, y = make(rng)
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    task = Task(model)
    noise = weight_noise(task, torch.full((43,), 0.1))
    draws = noise.sample(3, 0)
    plain, noisy = summed_losses(task, x, y, draws)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)
    truth = []
    for weights in (before, *draws):
        nn.utils.vector_to_parameters(weights, model.parameters())
        truth.append(float(F.cross_entropy(model(x), y, reduction="sum").detach()))
    assert [plain, *noisy.tolist()] == pytest.approx(truth, rel=1e-12)


def test_a_linear_net_s_mean_squared_error(rng):
    """E 1/2 |(w + e) x - y|² = 1/2 |w x - y|² + 1/2 tr Sigma_z, within four standard errors of 2000 draws."""
    model = nn.Linear(4, 2, bias=False).double().eval()
    x, y = torch.randn(5, 4, dtype=torch.float64, generator=rng), torch.randn(5, 2, dtype=torch.float64, generator=rng)
    found = activations_information(
        Task(model, loss="mse"), (x, y), layers="", posterior=torch.full((8,), 0.3), tau=0.1, draws=2000
    )
    plain = 0.5 * float((model(x) - y).detach().square().sum(1).mean())
    assert found.loss == pytest.approx(plain, rel=1e-12)
    assert abs(found.noisy_loss - plain - 0.3 * float(x.square().sum(1).mean())) < 4 * found.noisy_loss_stderr


def test_a_task_s_own_forward_and_tied_weights(rng):
    model, x, y = make(rng)
    task = Task(model, forward=lambda model, x: model(x + 1))
    noise = weight_noise(task, torch.full((43,), 0.1))
    weights = noise.sample(1, 0) * 0 + nn.utils.parameters_to_vector(model.parameters()).detach()
    plain, noisy = summed_losses(task, x, y, weights)
    assert float(noisy[0]) == pytest.approx(plain, rel=1e-12)
    assert plain == pytest.approx(float(F.cross_entropy(model(x + 1), y, reduction="sum").detach()), rel=1e-12)


def test_without_labels_or_draws_there_is_no_such_loss(rng):
    model, x, y = make(rng)
    options = {"layers": "2", "posterior": torch.full((43,), 0.1), "tau": 0.1}
    bare = activations_information(Task(model), x, **options)
    assert bare.loss is bare.noisy_loss is bare.noisy_loss_stderr is None
    none = activations_information(Task(model), (x, y), draws=0, **options)
    assert none.loss is not None and none.noisy_loss is None
    one = activations_information(Task(model), (x, y), draws=1, **options)
    assert one.noisy_loss is not None and one.noisy_loss_stderr is None
