import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from infotorch import Task, capture, weights_information
from infotorch.errors import ConfigError, NumericsError, ShapeError
from infotorch.measures.activations import noise as noise_module
from infotorch.measures.activations.noise import output_covariance, weight_noise
from infotorch.measures.activations.reading import Reading
from infotorch.measures.weights import rows as rows_module
from tests.laws import assert_same
from tests.measures.activations.truth import Gaussian, spd
from tests.oracles import jacobian


class Bag(nn.Module):
    """Ids made of floats, so that a table's rows stand in the pairs."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 3)

    def forward(self, x):
        return self.table(x.long())


def tied():
    """One weight in two layers, of which the lower one has run once and the outputs' twice."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    return model, (4,)


NETS = {
    "tied": tied,
    "linear": lambda: (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)),
    "conv": lambda: (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)), (2, 4, 4)),
    "transposed": lambda: (nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.Flatten()), (2, 2, 2)),
    "norm": lambda: (nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "positions": lambda: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Flatten()), (3, 3)),
    "table": lambda: (nn.Sequential(Bag(), nn.Flatten()), (2,)),
}


def make(kind, rng):
    torch.manual_seed(0)
    model, shape = NETS[kind]()
    model = model.double().eval()
    x = torch.randn(3, *shape, dtype=torch.float64, generator=rng)
    return model, x.abs().clamp(max=3) if kind == "table" else x


@pytest.mark.parametrize("form", ["variances", "covariance", "posterior"])
@pytest.mark.parametrize("kind", NETS)
def test_truth(kind, form, rng, monkeypatch):
    monkeypatch.setattr(noise_module, "FORMED_BYTES", 1)  # one sample at a time
    model, x = make(kind, rng)
    task = Task(model, loss="mse")
    J = jacobian(model, x)
    variances = torch.rand(J.shape[-1], dtype=torch.float64, generator=rng)
    Sigma = variances.diag() if form == "variances" else spd(J.shape[-1], rng)
    given = {"variances": variances, "covariance": Sigma, "posterior": Gaussian(model, Sigma)}[form]
    noise = weight_noise(task, given)
    with capture(task, (x, None), seeds="logits") as cap:
        assert_same(output_covariance(cap, noise), J @ Sigma @ J.mT)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("kind", NETS)
def test_a_low_rank_posterior_is_taken_through_inner_products(kind, kept, rng, monkeypatch):
    """The product with its dense covariance, at each layer in turn, which has other seeds than the outputs."""
    monkeypatch.setattr(rows_module, "KEPT_BYTES", 2**29 if kept else 0)
    monkeypatch.setattr(rows_module, "BATCH_SIZE", 2)
    model, x = make(kind, rng)
    task = Task(model, loss="mse")
    y = torch.zeros_like(model(x).detach())
    variances = {path: 0.5 + k for k, path in enumerate(dict.fromkeys(n.rpartition(".")[0] for n in task.shapes))}
    found = weights_information(task, (x, y), estimator="gram", prior_var=variances, beta=0.2, draws=0)
    Sigma, noise = found.posterior().covariance(), weight_noise(task, found)
    assert noise.taken is not None
    paths = [path for path, module in model.named_modules() if path and not list(module.children())]
    for path in paths:
        read = Reading(task, path, None).task(task)
        z = read.outputs(x)
        if z.requires_grad:
            J = torch.stack([
                torch.cat([
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for g, p in zip(torch.autograd.grad(one, list(model.parameters()), retain_graph=True,
                                                        allow_unused=True), model.parameters(), strict=True)
                ]) for one in z.flatten()
            ]).view(*z.shape, -1)  # fmt: skip
            for _ in range(2):  # the second time from what is kept
                with capture(read, (x, None), seeds="logits") as cap:
                    assert_same(output_covariance(cap, noise), J @ Sigma @ J.mT)


def test_it_is_the_covariance_of_outputs_under_small_noise(rng):
    """Monte Carlo: 20,000 draws, with a standard error of 1 % of the product of deviations."""
    model, x = make("norm", rng)
    task, Sigma = Task(model), 1e-8 * spd(43 + 10, rng)
    noise = weight_noise(task, Sigma)
    draws = noise.sample(20000, 3)
    names = {name: p.shape for name, p in model.named_parameters()}

    def outputs(w):
        parts = w.split([shape.numel() for shape in names.values()])
        return functional_call(model, {n: p.view(s) for (n, s), p in zip(names.items(), parts, strict=True)}, (x,))

    z = vmap(outputs)(draws).detach()  # [K, N, C]
    with capture(task, (x, None), seeds="logits") as cap:
        truth = output_covariance(cap, noise)
    deviation = truth.diagonal(dim1=1, dim2=2).sqrt()
    for n in range(3):
        error = (torch.cov(z[:, n].mT) - truth[n]) / deviation[n][:, None] / deviation[n]
        assert error.abs().max() < 0.05


@pytest.mark.parametrize("form", ["variances", "covariance"])
def test_draws_have_the_posterior_s_moments(form, rng):
    model = nn.Linear(2, 1).double().eval()
    Sigma = spd(3, rng)
    Sigma = Sigma.diagonal().diag() if form == "variances" else Sigma
    noise = weight_noise(Task(model, loss="mse"), Sigma.diagonal() if form == "variances" else Sigma)
    draws = noise.sample(20000, 0)
    assert torch.equal(draws, noise.sample(20000, 0)) and not torch.equal(draws, noise.sample(20000, 1))
    weights = nn.utils.parameters_to_vector(model.parameters())
    assert (draws.mean(0) - weights).abs().max() < 0.05
    assert (torch.cov(draws.mT) - Sigma).abs().max() < 0.1


@pytest.mark.parametrize("size", [0.0, 1e-9, 1.0])
def test_a_posterior_is_told_to_be_diagonal_by_what_it_does(size, rng):
    model, _ = make("linear", rng)
    variances = torch.rand(40, dtype=torch.float64, generator=rng)
    Sigma = variances.diag()
    Sigma[3, 5] = Sigma[5, 3] = size * 1e-3
    noise = weight_noise(Task(model, loss="mse"), Gaussian(model, Sigma))
    if size:
        assert noise.variances is None
    else:
        assert torch.equal(noise.variances, variances)


def test_frozen_parameters_are_no_part_of_it(rng):
    model, _ = make("linear", rng)
    model[2].requires_grad_(False)
    task = Task(model, loss="mse")
    noise = weight_noise(task, torch.ones(25))
    assert list(noise.shapes) == ["0.weight", "0.bias"] and noise.P == 25


def refused(error, text, posterior):
    model = nn.Linear(2, 1).double().eval()
    with pytest.raises(error, match=text):
        weight_noise(Task(model, loss="mse"), posterior(model) if callable(posterior) else posterior)


@pytest.mark.parametrize("shape", [(4,), (3, 2), (), (2, 2)])
def test_a_tensor_of_other_parameters_is_refused(shape):
    refused(ShapeError, r"posterior must be \[P\] variances or \[P, P\] for the task's P = 3; got", torch.ones(shape))


def test_a_posterior_of_other_parameters_is_refused():
    other = nn.Linear(3, 1).double()
    refused(
        ShapeError,
        "must be of the task's parameters in their order; got a difference at 'weight'",
        Gaussian(other, torch.eye(4)),
    )


def test_a_posterior_around_other_weights_is_refused():
    def moved(model):
        posterior = Gaussian(model, torch.eye(3, dtype=torch.float64))
        posterior.mean = posterior.mean + 1
        return posterior

    refused(ConfigError, r"the posterior's mean must be the model's weights; got one 1\.73 away", moved)


def test_what_is_no_posterior_is_refused():
    refused(ConfigError, "posterior must be a tensor or have mean, shapes, times and sample; got str", "fisher")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_variances_must_be_variances(value):
    refused(
        ConfigError, "variances of the posterior must be finite and at least 0; got", torch.tensor([1.0, 1.0, value])
    )


def test_a_covariance_must_be_symmetric():
    refused(
        ConfigError,
        r"covariance must be symmetric; got entries 1 apart\. Pass",
        torch.eye(3) + torch.ones(3, 3).triu(1),
    )


def test_draws_of_an_indefinite_covariance_are_refused():
    noise = weight_noise(Task(nn.Linear(1, 1).double().eval(), loss="mse"), torch.tensor([[1.0, 2], [2, 1]]))
    with pytest.raises(NumericsError, match="must be positive semi-definite"):
        noise.sample(1, 0)
