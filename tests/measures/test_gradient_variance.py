import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch import Task
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures.gradient_variance import gradient_variance
from tests.oracles import per_sample_grads

NETWORKS = {
    "mlp": lambda: (nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)),
    "cnn": lambda: (nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)), (2, 4, 4)),
    "grouped": lambda: (
        nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)),
        (4, 4, 4),
    ),
    "norms": lambda: (
        nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)),
        (5,),
    ),
}


def make(kind, rng, N=11, dtype=torch.float64):
    torch.manual_seed(0)  # weights of layers
    model, shape = NETWORKS[kind]()
    x = torch.randn(N, *shape, generator=rng).to(dtype)
    return model.to(dtype).eval(), x, torch.randint(3, (N,), generator=rng)


def truth(model, x, y, names=None):
    """Mean squared distance of per-sample gradients from their mean, by torch.func."""
    grads = per_sample_grads(model, F.cross_entropy, x, y)
    flat = torch.cat([g.flatten(1) for name, g in grads.items() if names is None or name in names], 1).double()
    return (flat - flat.mean(0)).square().sum(1).mean().item()


@pytest.mark.parametrize("kind", NETWORKS)
def test_oracle(kind, rng):
    model, x, y = make(kind, rng)
    assert gradient_variance(Task(model), (x, y)) == pytest.approx(truth(model, x, y), rel=1e-12)


def test_float32(rng):
    model, x, y = make("cnn", rng, dtype=torch.float32)
    assert gradient_variance(Task(model), (x, y)) == pytest.approx(truth(model.double(), x.double(), y), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_batches_do_not_matter(batch_size, rng):
    model, x, y = make("cnn", rng)
    got = gradient_variance(Task(model), (x, y), batch_size=batch_size)
    assert got == pytest.approx(truth(model, x, y), rel=1e-12)


def test_selected_parameters_alone(rng):
    model, x, y = make("mlp", rng)
    got = gradient_variance(Task(model, params=["0.*"]), (x, y))
    assert got == pytest.approx(truth(model, x, y, {"0.weight", "0.bias"}), rel=1e-12)


def test_a_lookup_and_a_dict(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(12, 3)).double().eval()
    ids, y = torch.randint(6, (9, 3), generator=rng), torch.randint(3, (9,), generator=rng)
    task = Task(model, forward=lambda model, batch: model(batch["ids"]))
    got = gradient_variance(task, {"ids": ids, "labels": y}, batch_size=4)
    assert got == pytest.approx(truth(model, ids, y), rel=1e-12)


def test_equal_samples_have_none(rng):
    model, x, y = make("cnn", rng, N=1)
    got = gradient_variance(Task(model), (x.expand(7, -1, -1, -1), y.expand(7)))
    squared = sum(g.square().sum() for g in per_sample_grads(model, F.cross_entropy, x, y).values())
    assert 0 <= got <= 1e-14 * float(squared)


def test_the_model_is_left_as_it_was(rng):
    model, x, y = make("mlp", rng)
    gradient_variance(Task(model), (x, y))
    assert all(p.grad is None for p in model.parameters()) and not model.training


def test_layers_that_couple_samples_are_refused(rng):
    model, x, y = make("norms", rng)
    with pytest.raises(ConfigError, match="where BatchNorm makes each output depend on the whole batch"):
        gradient_variance(Task(model.train()), (x, y))


def test_a_gradient_that_is_not_finite_is_named(rng):
    model, x, y = make("mlp", rng)

    def loss(outputs, y):
        return outputs.sum(1) * torch.where(y == 7, torch.inf, 1.0)

    y = y.clone()
    y[9] = 7
    with pytest.raises(NumericsError, match=r"must be finite; got a squared norm of (inf|nan) for sample 9. Look"):
        gradient_variance(Task(model, loss=loss), (x, y), batch_size=4)


def test_refusals(rng):
    model, x, y = make("mlp", rng)
    with pytest.raises(ConfigError, match=r"gradient_variance: batch_size must be at least 1; got 0."):
        gradient_variance(Task(model), (x, y), batch_size=0)
    with pytest.raises(DataError, match="x and y must have one length"):
        gradient_variance(Task(model), (x, y[:3]))
