"""The training of a variational network: its optimum, its account, its resumption."""

import math
import re

import pytest
import torch
from torch import nn

from infotorch import ConfigError, DataError, DivergenceError, StoreError
from infotorch.train import fit_variational, variational


def data(N=24, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 3, generator=g, dtype=dtype)
    return x, (x[:, 0] > 0).long()


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def wrapped(**options):
    return variational(net(), **{"prior_var": 0.5, "noise": "local"} | options)


def quadratic():
    """Least squares: H = X^T X for each output, and w* of ridge beta / lambda^2 toward w0 = 0."""
    g = torch.Generator().manual_seed(1)
    X, y = torch.randn(40, 3, generator=g).double(), torch.randn(40, 2, generator=g).double()
    return X, y, X.T @ X


def test_at_the_diagonal_optimum_of_a_quadratic_the_gradient_is_zero():
    """sigma_i^2 = beta / (H_ii + beta / lambda^2), within five errors of Monte Carlo."""
    X, y, H = quadratic()
    beta, lambda2 = 0.7, 0.3
    model = nn.Linear(3, 2, bias=False).double()
    q = variational(model, prior_var=lambda2, prior_mean=0.0)
    with torch.no_grad():
        q.network.weight.copy_(torch.linalg.solve(H + beta / lambda2 * torch.eye(3).double(), X.T @ y).T)
        q.network.weight_logvar.copy_((beta / (H.diagonal() + beta / lambda2)).log().expand(2, 3))
    torch.manual_seed(0)
    grads = []
    for _ in range(1500):
        q.zero_grad()
        (0.5 * (q(X) - y).square().sum() + beta * q.kl()).backward()
        grads.append(torch.stack([q.network.weight.grad, q.network.weight_logvar.grad]))
    grads = torch.stack(grads)
    assert (grads.mean(0).abs() / (grads.std(0) / 1500**0.5)).max() < 5
    assert (grads.std(0) > 0).all()


def test_training_on_a_quadratic_ends_at_its_optimum():
    X, y, H = quadratic()
    beta, lambda2 = 0.7, 0.3
    q = variational(nn.Linear(3, 2, bias=False).double(), prior_var=lambda2, prior_mean=0.0, noise="local")
    fit = fit_variational(q, (X, y), beta=beta, loss="mse", steps=1500, lr=0.02, num_draws=400)
    expected = (beta / (H.diagonal() + beta / lambda2)).expand(2, 3)
    torch.testing.assert_close(q.network.weight_logvar.exp(), expected, rtol=0.25, atol=0)
    w = torch.linalg.solve(H + beta / lambda2 * torch.eye(3).double(), X.T @ y).T
    exact = 0.5 * (X @ w.T - y).square().sum() + 0.5 * (H.diagonal() * expected).sum()
    exact += 0.5 * beta * ((expected + w**2) / lambda2 - 1 + (lambda2 / expected).log()).sum()
    assert fit.lagrangian == pytest.approx(float(exact), abs=5 * fit.stderr + 0.1)
    assert fit.lagrangian > float(exact) - 5 * fit.stderr
    assert fit.train_accuracy is None


@pytest.mark.parametrize("noise", ["weight", "local", "flipout"])
def test_the_account_is_of_whole_draws_of_the_weights(noise):
    """Loss and KL are those of the posterior that is left, by its own samples."""
    x, y = data()
    q = wrapped(noise=noise)
    fit = fit_variational(q, (x, y), beta=0.1, steps=60, num_draws=64, test_data=(x, y))
    names, sizes = list(q.posterior().shapes), [s.numel() for s in q.posterior().shapes.values()]
    losses = []
    for w in q.posterior().sample(2000, seed=5).float():
        parts = zip(names, w.split(sizes), q.posterior().shapes.values(), strict=True)
        weights = {name: part.view(shape) for name, part, shape in parts}
        outputs = torch.func.functional_call(q.network, weights, (x,))
        losses.append(nn.functional.cross_entropy(outputs, y, reduction="sum"))
    losses = torch.stack(losses)
    assert fit.noisy_loss == pytest.approx(float(losses.mean().detach()), abs=5 * fit.stderr)
    assert fit.kl == float(q.kl().detach()) and fit.lagrangian == fit.noisy_loss + 0.1 * fit.kl
    assert fit.as_dict()["lagrangian"] == fit.lagrangian and fit.num_samples == 24
    assert 0.5 < fit.train_accuracy <= 1 and fit.test_loss == pytest.approx(fit.noisy_loss, abs=5 * fit.stderr)


def test_beta_rises_over_the_first_quarter():
    fit = fit_variational(wrapped(), data(), beta=0.8, steps=40)
    betas = {int(entry["step"]): entry["beta"] for entry in fit.history}
    assert betas[0] == pytest.approx(0.08) and betas[4] == pytest.approx(0.4)
    assert all(betas[step] == 0.8 for step in range(9, 40))
    assert {entry["beta"] for entry in fit_variational(wrapped(), data(), beta=0.8, steps=5, warmup=0.0).history} == {
        0.8
    }


def state(q):
    return torch.cat([p.detach().flatten() for p in q.parameters()])


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator_alone():
    found = []
    for seed in (0, 0, 1):
        q = wrapped()
        torch.manual_seed(9)
        before = torch.get_rng_state()
        fit = fit_variational(q, data(), beta=0.3, steps=20, batch_size=7, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        found.append((state(q), fit.as_dict()))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]
    assert not torch.equal(found[0][0], found[2][0])


def test_generators_of_every_device_are_as_before(monkeypatch):
    """A seed goes to all devices, so that all are put back, and not those of the data alone."""
    put_back = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["first", "second"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put_back.append)
    fit_variational(wrapped(), data(), beta=0.3, steps=1, num_draws=2)
    assert put_back == [["first", "second"]] * 2  # of the training, of the measuring


class Killed(Exception):
    pass


@pytest.mark.parametrize("noise", ["weight", "flipout"])
def test_a_training_that_was_killed_ends_with_the_same_bits(tmp_path, noise):
    options = {"beta": 0.3, "steps": 30, "batch_size": 7, "checkpoint_every": 4}
    whole = wrapped(noise=noise)
    expected = fit_variational(whole, data(), **options)

    def kill(stage, done, total):
        if done == 18:
            raise Killed

    file = tmp_path / "fit.pt"
    with pytest.raises(Killed):
        fit_variational(wrapped(noise=noise), data(), checkpoint=file, progress=kill, **options)
    steps = []
    again = wrapped(noise=noise)
    found = fit_variational(
        again, data(), checkpoint=file, progress=lambda stage, done, total: steps.append(done), **options
    )
    assert steps == list(range(17, 31))
    assert torch.equal(state(again), state(whole)) and found.as_dict() == expected.as_dict()
    third = wrapped(noise=noise)
    assert fit_variational(third, data(), checkpoint=file, **options).as_dict() == expected.as_dict()
    with pytest.raises(ConfigError, match=r"fit_variational: beta must be that of the checkpoint, 0.3; got 0.4."):
        fit_variational(wrapped(noise=noise), data(), checkpoint=file, **options | {"beta": 0.4})
    with pytest.raises(ConfigError, match="fit_variational: data must be that of the checkpoint"):
        fit_variational(wrapped(noise=noise), data(23), checkpoint=file, **options)


def custom(scale):
    return lambda f, y: scale * nn.functional.cross_entropy(f, y, reduction="none")


@pytest.mark.parametrize(
    ("changes", "loss", "field"),
    [
        ({"prior_var": 0.4}, custom(1.0), r"prior_var must be that of the checkpoint, .*0.5.*; got .*0.4"),
        ({"prior_var": "learned"}, custom(1.0), r"prior_var must be that of the checkpoint, .*; got 'learned'"),
        ({"prior_mean": 0.0}, custom(1.0), "prior_mean must be that of the checkpoint"),
        ({"noise": "flipout"}, custom(1.0), "noise must be that of the checkpoint, .*'local'.*; got .*'flipout'"),
        ({"granularity": "filter"}, custom(1.0), "granularity must be that of the checkpoint, .*'weight'.*'filter'"),
        ({}, custom(2.0), "loss must be that of the checkpoint"),
        ({}, "cross_entropy", "loss must be that of the checkpoint, .*; got 'cross_entropy'"),
    ],
)
def test_a_checkpoint_of_another_prior_noise_or_loss_is_refused(tmp_path, changes, loss, field):
    options = {"beta": 0.3, "steps": 4, "num_draws": 2, "checkpoint": tmp_path / "fit.pt"}
    fit = fit_variational(wrapped(), data(), loss=custom(1.0), **options)
    assert fit_variational(wrapped(), data(), loss=custom(1.0), **options) == fit
    with pytest.raises(ConfigError, match=f"^fit_variational: {field}.* Pass it, or delete .*fit.pt.$"):
        fit_variational(wrapped(**changes), data(), loss=loss, **options)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    options = {"beta": 0.3, "steps": 4, "num_draws": 2, "checkpoint": tmp_path / "fit.pt"}
    for size in (0, 1):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False, track_running_stats=bool(size)))
        with torch.no_grad():
            model[0].weight.fill_(0.1)
            model[0].bias.fill_(0.1)
        q = variational(model, prior_var=0.5)
        if not size:
            fit_variational(q, data(), **options)
    with pytest.raises(StoreError, match="fit_variational: model must be the network of the checkpoint"):
        fit_variational(q, data(), **options)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "fit.pt").write_bytes(b"no")
    with pytest.raises(StoreError, match="must be a checkpoint of fit_variational"):
        fit_variational(wrapped(), data(), beta=1.0, checkpoint=tmp_path / "fit.pt")


def test_dropout_and_batch_norm_are_in_eval_mode_where_losses_are_measured():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    q = variational(model, prior_var=0.5)
    fit_variational(q, data(), beta=0.1, steps=3)
    before = q.network[1].running_mean.clone()
    q.network[1].eval()
    first = fit_variational(q, data(), beta=0.1, steps=1, lr=1e-30)
    assert not torch.equal(q.network[1].running_mean, before)  # trained in train mode, measured in eval mode
    assert not q.network[1].training and q.network[2].training
    assert first.stderr > 0


@pytest.mark.filterwarnings("ignore:Anomaly")
def test_a_training_that_diverges_names_the_step_and_the_layer():
    q = wrapped(noise="weight")
    with pytest.raises(
        DivergenceError, match=r"fit_variational: the loss must be finite; got .* at step \d+, "
    ) as error:
        fit_variational(q, data(), beta=1e-3, steps=50, lr=1e20)
    assert error.value.step > 0 and error.value.where == "loss"
    model = nn.Sequential(nn.Linear(3, 2))
    q = variational(model, prior_var=1.0)
    with torch.no_grad():
        q.network[0].weight.fill_(3e38)
    with pytest.raises(DivergenceError, match=r"at step 0, first in network.0. Lower lr, or raise warmup."):
        fit_variational(q, (torch.full((2, 3), 3e38), torch.tensor([0, 1])), beta=1.0)


REFUSED = {
    "beta 0": (dict(beta=0), ConfigError, "beta must be > 0 and finite; got 0. Correct beta."),
    "beta negative": (dict(beta=-1.0), ConfigError, "beta must be > 0 and finite; got -1.0."),
    "beta nan": (dict(beta=math.nan), ConfigError, "beta must be > 0 and finite; got nan."),
    "lr": (dict(lr=0.0), ConfigError, "lr must be > 0 and finite; got 0.0."),
    "warmup": (dict(warmup=1.5), ConfigError, "warmup must lie in [0, 1]; got 1.5."),
    "steps": (dict(steps=0), ConfigError, "steps must be a whole number of at least 1; got 0."),
    "draws": (dict(num_draws=1), ConfigError, "num_draws must be a whole number of at least 2; got 1."),
    "batch": (dict(batch_size=0), ConfigError, "batch_size must be a whole number of at least 1; got 0."),
    "empty": (dict(data=(torch.zeros(0, 3), torch.zeros(0).long())), DataError, "data must have samples; got none."),
    "empty test": (dict(test_data=(torch.zeros(0, 3), torch.zeros(0).long())), DataError, "test_data must have"),
    "no pair": (dict(data=torch.zeros(3, 3)), DataError, "data must be (x, y), two tensors; got Tensor."),
    "lengths": (dict(data=(torch.zeros(3, 3), torch.zeros(2).long())), DataError, "x and y must have one length"),
    "nan": (dict(data=(torch.full((2, 3), math.nan), torch.zeros(2).long())), DataError, "finite"),
    "ids": (dict(data=(torch.ones(4, 3).long(), torch.zeros(4).long())), DataError, "data must be what the network"),
    "width": (dict(data=(torch.ones(4, 5), torch.zeros(4).long())), DataError, "data must be what the network takes"),
    "width of test": (
        dict(test_data=(torch.ones(4, 5), torch.zeros(4).long())), DataError, "test_data must be what the network takes"
    ),
    "warmup word": (dict(warmup="a"), ConfigError, "warmup must be a number; got str 'a'. It is a share of the steps."),
    "seed": (dict(seed=None), ConfigError, "seed must be a whole number below 2**64; got None."),
    "checkpoint": (dict(checkpoint=3), ConfigError, "checkpoint must be a path; got int."),
    "progress": (dict(progress=3), ConfigError, "progress must be a function; got int."),
    "plain": (dict(model=net()), ConfigError, "model must be what variational() returns; got Sequential."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    options, kind, message = REFUSED[case]
    options = {"model": wrapped(), "data": data(), "beta": 1.0, "steps": 2} | options
    with pytest.raises(kind, match=re.escape(message)):
        fit_variational(options.pop("model"), options.pop("data"), **options)
