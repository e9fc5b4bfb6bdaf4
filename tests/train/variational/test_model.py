"""A variational network as a user has it: modes, copies, optimizers, other processes."""

import copy
import io
import math
import pathlib
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch import NotSupported, NumericsError
from infotorch.train import variational

HOUSE = pathlib.Path(__file__).parents[3]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3
NOISES = ["weight", "local", "flipout"]


@pytest.mark.parametrize("noise", NOISES)
def test_noise_in_train_mode_only(noise):
    model = network()
    q = variational(model, prior_var=0.1, noise=noise)
    assert q.training
    assert not torch.equal(q(X), q(X))
    assert torch.equal(q.eval()(X), model.eval()(X)) and torch.equal(q(X), q(X))
    assert not variational(network().eval(), prior_var=0.1).training


@pytest.mark.parametrize("noise", NOISES)
def test_the_model_that_was_wrapped_is_untouched(noise):
    model = network()
    before = copy.deepcopy(model.state_dict())
    q = variational(model, prior_var=0.1, noise=noise)
    optimizer = torch.optim.SGD(q.parameters(), lr=0.1)
    (F.cross_entropy(q(X), Y) + q.kl()).backward()
    optimizer.step()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in [*model.modules(), *q.modules()])


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_unwrapped_is_the_plain_network_at_the_means(granularity):
    model = network()
    q = variational(model, prior_var=0.1, granularity=granularity)
    with torch.no_grad():
        q.network[0].weight.add_(1)
    plain = q.unwrapped()
    assert plain.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(plain(X), q.eval()(X))
    variational(plain, prior_var=0.1)  # can be wrapped again


@pytest.mark.parametrize("prior_var", [0.1, "learned"])
@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_state_goes_round(granularity, prior_var):
    """Through a file into one built anew from other weights: the same KL, posterior and noise."""
    q = variational(network(), prior_var=prior_var, granularity=granularity)
    with torch.no_grad():
        for p in q.parameters():
            p.add_(0.1)
    file = io.BytesIO()
    torch.save(q.state_dict(), file)
    file.seek(0)
    other = network()
    other[0].reset_parameters()
    again = variational(other, prior_var=prior_var if prior_var == "learned" else 7.0, granularity=granularity)
    again.load_state_dict(torch.load(file, weights_only=True))
    for copied in (again, copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        assert torch.equal(copied.kl(), q.kl()) and copied.prior_var == q.prior_var
        torch.manual_seed(3)
        mine = q(X)
        torch.manual_seed(3)
        assert torch.equal(copied(X), mine)


def test_a_copy_is_one_of_its_own():
    q = variational(network(), prior_var=0.1, noise="flipout")
    other = copy.deepcopy(q)
    with torch.no_grad():
        other.network[0].weight_logvar.fill_(-50)
    assert float(other.kl().detach()) > float(q.kl().detach()) + 100


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.LBFGS])
@pytest.mark.parametrize("noise", NOISES)
def test_any_optimizer_lowers_the_objective(optimizer, noise):
    q = variational(network(), prior_var=0.1, noise=noise)
    steps = optimizer(q.parameters(), lr=0.01)

    def objective():
        torch.manual_seed(0)
        return F.cross_entropy(q(X), Y, reduction="sum") + 0.1 * q.kl()

    def closure():
        steps.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    before = float(objective().detach())
    for _ in range(10):
        steps.step(closure)
    assert float(objective().detach()) < before
    assert all(p.grad is not None for p in q.parameters())


def test_weights_read_elsewhere_are_refused_not_left_without_noise():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return F.linear(self.a(x), self.b.weight)

    q = variational(Reads(), prior_var=1.0, noise="local")
    with pytest.raises(NotSupported, match=r"variational: a layer must be called for noise='local'; got none at 'b', "):
        q(torch.randn(2, 3))
    q = variational(Reads(), prior_var=1.0)
    q(torch.randn(2, 3)).sum().backward()
    assert q.network.b.weight_logvar.grad.abs().min() > 0


@pytest.mark.parametrize("noise", ["local", "flipout"])
def test_inputs_may_be_named(noise):
    q = variational(nn.Linear(4, 3), prior_var=0.1, noise=noise)
    torch.manual_seed(0)
    expected = q(X)
    torch.manual_seed(0)
    assert torch.equal(q(input=X), expected)


@pytest.mark.parametrize("noise", NOISES)
def test_every_parameter_of_an_attention_layer_has_noise(noise):
    """Its output projection is a Linear that is never called."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
    q = variational(model, prior_var=1.0, noise=noise)
    q(torch.randn(2, 1, 4)).square().sum().backward()
    logvars = {name: p for name, p in q.named_parameters() if name.endswith("logvar")}
    assert len(logvars) == len(list(model.parameters()))
    assert all(p.grad.abs().sum() > 0 for name, p in logvars.items())


def test_recurrent_weights_have_noise():
    q = variational(nn.LSTM(3, 4), prior_var=1.0)
    x = torch.randn(5, 2, 3)
    assert not torch.equal(q(x)[0], q(x)[0])


def test_replicas_of_several_processes_stay_the_same(tmp_path):
    """Under DistributedDataParallel, with noise of its own on each rank."""
    command = [sys.executable, "-m", "tests.train.variational.replicas"]
    running = [
        subprocess.Popen([*command, str(r), str(tmp_path / "rendezvous"), str(tmp_path / "out")], cwd=HOUSE)
        for r in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    first, second = (torch.load(f"{tmp_path / 'out'}.{r}") for r in range(2))
    start = torch.cat([p.detach().flatten() for p in variational(network(), prior_var=0.1).parameters()])
    for noise in NOISES:
        assert torch.equal(first[noise], second[noise])
        assert ((first[noise] - start).abs() > 0).all()


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
@pytest.mark.parametrize("spoiled", ["weight", "logvar"])
def test_weights_that_are_not_finite_have_no_kl(granularity, spoiled):
    q = variational(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), prior_var=1.0, granularity=granularity)
    name, p = next((n, p) for n, p in q.network[1].named_parameters() if spoiled in n)
    with torch.no_grad():
        p.view(-1)[0] = math.nan
    for call in (q.kl, q.kl_by_layer):
        with pytest.raises(NumericsError, match=rf"^kl: the KL of every layer must be .* got nan at '1', for '{name}'"):
            call()
    assert q.kl_as_it_is().isnan()


def test_variances_that_overflow_are_told():
    q = variational(nn.Linear(3, 2), prior_var=1.0)
    with torch.no_grad():
        q.network.weight_logvar.fill_(1e4)
    with pytest.raises(NumericsError, match="got inf at '', for its variances overflow"):
        q.kl()
