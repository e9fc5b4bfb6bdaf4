import pathlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import Task, activations_information
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures.activations import information
from tests.measures.activations.truth import Gaussian, divergence_hessian, jacobians, spd

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "weights_information"
RTOL = 1e-8


def golden():
    with np.load(FOLDER / "activations.npz") as file:
        return {key: torch.as_tensor(file[key]) for key in file.files}


def golden_net(g):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    nn.utils.vector_to_parameters(g["net_w"], model.parameters())
    return model


def close(got, want, rtol=RTOL):
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, want.double(), rtol=rtol, atol=0)


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()


def cnn(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 2, groups=1), nn.Flatten(), nn.Linear(8, 3)]
    return nn.Sequential(*layers).double().eval()


def num_weights(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def mean_part(J, Jx, Sigma):
    """F [N, I, I] of every sample."""
    return Jx.mT @ torch.linalg.solve(J @ Sigma @ J.mT, Jx)


@pytest.mark.parametrize("covariance_term", [False, True])
@pytest.mark.parametrize("k", range(3))
def test_golden_net(k, covariance_term):
    g = golden()
    X, tau = g["net_X"][:4], float(g["net_taus"][k])
    found = activations_information(
        Task(golden_net(g)), (X, g["net_Y"][:4]), layers=["2"], posterior=g["net_Sw"], tau=tau,
        covariance_term=covariance_term,
    )["2"]  # fmt: skip
    close(found.I_tau, g["net_local_information"][:, int(covariance_term), k])
    F = g["net_mean"] + covariance_term * g["net_cov"]
    close(found.trace, F.diagonal(dim1=1, dim2=2).sum(1))
    close(found.logdet, F.logdet() if covariance_term else torch.full((4,), -torch.inf))  # 3 outputs, 4 inputs
    assert found.rank.tolist() == [3] * 4 and found.dropped.tolist() == [0] * 4


def test_golden_nuisance():
    g = golden()
    found = activations_information(
        Task(golden_net(g)), g["net_X"][:4], layers="2", posterior=g["net_Sw"], tau=0.5,
        tangents={"nuisance": lambda x: g["nuisance"].expand_as(x)},
    )["2"].tangents["nuisance"]  # fmt: skip
    close(found.index, g["nuisance_index"])
    close(found.I_tau, 0.5 * torch.log1p(0.25 * g["nuisance_fisher"]))


@pytest.mark.parametrize("covariance_term", [False, True])
def test_golden_hidden_layer(covariance_term):
    g = golden()
    found = activations_information(
        Task(golden_net(g)), g["net_X"][:1], layers="1", posterior=g["net_Sw"], tau=0.3,
        covariance_term=covariance_term, tangents={f"e{i}": torch.eye(4).double()[i : i + 1] for i in range(4)},
    )["1"]  # fmt: skip
    F = g["hidden_mean"] + covariance_term * g["hidden_cov"]
    close(found.trace, F.trace()[None])
    close(found.I_tau, 0.5 * torch.logdet(torch.eye(4) + 0.09 * F)[None])
    moved = [torch.expm1(2 * found.tangents[f"e{i}"].I_tau) / 0.09 for i in range(4)]
    close(torch.cat(moved), F.diagonal())


@pytest.mark.parametrize("covariance_term", [False, True])
def test_golden_linear(covariance_term):
    g = golden()
    model = nn.Linear(4, 2, bias=False).double().eval()
    model.weight.data = g["lin_W"]
    found = activations_information(
        Task(model, loss="mse"), g["lin_x"][None], layers="", posterior=torch.kron(g["lin_U"], g["lin_V"]), tau=0.7,
        covariance_term=covariance_term,
    )[""]  # fmt: skip
    F = g["lin_mean"] + covariance_term * g["lin_cov"]
    close(found.trace, F.trace()[None])
    close(found.I_tau, 0.5 * torch.logdet(torch.eye(4) + 0.49 * F)[None])


def test_it_is_the_hessian_of_the_divergence(rng):
    """Through layer norm too, whose second derivatives by torch.func are wrong; the truth writes the norm out."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    model[1].weight.data += 0.3 * torch.randn(5, dtype=torch.float64, generator=rng)

    def forward(x):
        h = model[0](x)
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return model[3](torch.tanh(h * model[1].weight + model[1].bias))

    x, Sigma = torch.randn(2, 3, dtype=torch.float64, generator=rng), spd(num_weights(model), rng)
    H = torch.stack([divergence_hessian(forward, list(model.parameters()), x_n, Sigma) for x_n in x])
    found = activations_information(
        Task(model), x, layers="3", posterior=Sigma, tau=0.4, covariance_term=True,
        tangents={f"e{i}": torch.eye(3).double()[i].expand(2, 3) for i in range(3)},
    )["3"]  # fmt: skip
    close(found.trace, H.diagonal(dim1=1, dim2=2).sum(1))
    close(found.I_tau, 0.5 * torch.logdet(torch.eye(3) + 0.16 * H))
    close(found.logdet, torch.logdet(H))
    for i in range(3):
        close(torch.expm1(2 * found.tangents[f"e{i}"].I_tau) / 0.16, H[:, i, i])


@pytest.mark.parametrize("form", ["variances", "diagonal matrix", "posterior", "information"])
@pytest.mark.parametrize("net", [mlp, cnn])
def test_forms_of_a_posterior_agree_with_explicit_jacobians(net, form, rng):
    model = net()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng).view(5, 4) if net is mlp else None
    x = torch.randn(5, 1, 5, 5, dtype=torch.float64, generator=rng) if x is None else x
    variances = torch.rand(num_weights(model), dtype=torch.float64, generator=rng) + 0.1
    Sigma = variances.diag()

    class Information:
        def posterior(self):
            return Gaussian(model, Sigma)

    given = {
        "variances": variances,
        "diagonal matrix": Sigma,
        "posterior": Gaussian(model, Sigma),
        "information": Information(),
    }[form]
    found = activations_information(Task(model), x, layers="", posterior=given, tau=0.2)[""]
    J, Jx = jacobians(model, x)
    truth = mean_part(J, Jx, Sigma)
    close(found.trace, truth.diagonal(dim1=1, dim2=2).sum(1))
    close(found.I_tau, 0.5 * torch.logdet(torch.eye(Jx.shape[-1]) + 0.04 * truth))


def test_weights_above_a_layer_make_no_noise_in_it(rng):
    """Each layer equals the net that ends there, with its part of the posterior alone."""
    model = cnn()
    x = torch.randn(3, 1, 5, 5, dtype=torch.float64, generator=rng)
    Sigma = spd(num_weights(model), rng)
    # As many numbers as conv1 has weights would be dependent; conv2 and the head have none too many.
    found = activations_information(Task(model), x, layers=["4", "2"], posterior=Sigma, tau=0.2)
    assert list(found) == ["2", "4"]  # by depth
    for path, below in (("2", model[:3]), ("4", model)):
        J, Jx = jacobians(below, x)
        P = J.shape[-1]
        truth = mean_part(J, Jx, Sigma[:P, :P])
        close(found[path].I_tau, 0.5 * torch.logdet(torch.eye(25) + 0.04 * truth), rtol=1e-7)


def test_scaling_inputs_of_a_linear_layer(rng):
    """F's mean part falls with the square of the input, the noise's own growth."""
    model = nn.Linear(4, 3, bias=False).double().eval()
    x = torch.randn(6, 4, dtype=torch.float64, generator=rng)
    one, two = (
        activations_information(Task(model, loss="mse"), scale * x, layers="", posterior=torch.ones(12), tau=1)[""]
        for scale in (1, 2)
    )
    close(two.trace, one.trace / 4, rtol=1e-12)


def test_golden_correlation():
    """Of two weights with correlation rho one is read: the precision is 1, where the paper's print has 1/(1 - rho²)."""
    g = golden()
    model = nn.Linear(2, 1, bias=False).double().eval()
    nn.init.ones_(model.weight)
    x = torch.tensor([[1, 0]], dtype=torch.float64)
    for rho, ratio in zip(g["redundant_rho"], g["redundant_precision_over_printed"], strict=True):
        Sigma = torch.eye(2, dtype=torch.float64) + rho * torch.eye(2, dtype=torch.float64).flip(0)
        found = activations_information(Task(model, loss="mse"), x, layers="", posterior=Sigma, tau=1.0)[""]
        close(found.trace / (2 * torch.linalg.inv(Sigma)[0, 0]), ratio[None])


def test_dead_units_are_dropped_and_counted(rng):
    model = mlp()
    model[0].bias.data[:2] = -100  # never above zero
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    variances = torch.rand(num_weights(model), dtype=torch.float64, generator=rng) + 0.1
    found = activations_information(Task(model), x, layers="1", posterior=variances, tau=0.2)["1"]
    J, Jx = relu_jacobians(model, x)
    for n in range(5):
        live = J[n].any(1)
        assert found.dropped[n] == (~live).sum() >= 2 and found.rank[n] == live.sum()
        S = (J[n][live] * variances) @ J[n][live].mT
        F_n = Jx[n][live].mT @ torch.linalg.solve(S, Jx[n][live])
        close(found.trace[n], F_n.trace())
        close(found.I_tau[n], 0.5 * torch.logdet(torch.eye(4) + 0.04 * F_n))
    assert not found.noiseless.any()


def relu_jacobians(model, x):
    """The whole's Jacobians with the head as it is: [N, D, P] with zeros for the head's parameters."""
    head = num_weights(model[2])
    J, Jx = jacobians(model[:2], x)
    return F.pad(J, (0, head)), Jx


def test_units_that_say_the_same_are_one_direction():
    """Two equal units are one of rank; a third that follows x without noise of its own is told, and left out."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).double().eval()
    x = torch.tensor([[1.0, 2.0]]).double()

    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = model, nn.Identity()

        def forward(self, x):
            z = self.inner(x)
            return self.out(torch.cat([z, z[:, :1], z[:, :1] + x[:, :1]], 1))

    whole = Repeated().eval()
    found = activations_information(
        Task(whole, loss="mse"), x, layers=["inner", "out"], posterior=torch.ones(4), tau=1.0
    )
    assert found["inner"].rank.tolist() == found["out"].rank.tolist() == [2]
    assert found["inner"].noiseless.tolist() == [0] and found["out"].noiseless.tolist() == [1]
    assert "* z follows x in directions without noise too" in repr(found)


def test_a_layer_without_selected_weights_below_tells_nothing(rng):
    model = mlp()
    model[0].requires_grad_(False)
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    found = activations_information(Task(model), x, layers=["0", "2"], posterior=torch.ones(21), tau=0.2)
    assert found["0"].dropped.tolist() == [6] * 5 and not found["0"].I_tau.any() and not found["0"].trace.any()
    assert found["0"].noiseless.tolist() == [4] * 5  # four inputs, and six units
    assert found["2"].rank.tolist() == [3] * 5


def test_a_constant_layer_tells_nothing(rng):
    """Weights that don't read x: no information, and no index, which would be 0 of a layer that is invariant."""
    model = mlp()
    model[0].weight.data.zero_()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    given = {"v": torch.ones_like(x)}
    found = activations_information(Task(model), x, layers="2", posterior=torch.ones(51), tau=0.2, tangents=given)["2"]
    assert not found.I_tau.any() and not found.trace.any() and found.tangents["v"].index.isnan().all()
    assert found.tangents["v"].mean_index is None and found.tangents["v"].undefined == 5


def test_rows_are_drawn_once_and_their_share_is_told(rng):
    model = mlp()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    variances = torch.rand(num_weights(model), dtype=torch.float64, generator=rng) + 0.1
    options = {"posterior": variances, "tau": 0.2}
    few = activations_information(Task(model), x, layers=["0", "2"], rows={"0": 3}, seed=4, **options)
    again = activations_information(Task(model), x, layers=["0"], rows=3, seed=4, **options)["0"]
    assert few["0"].fraction == 0.5 and few["2"].fraction == 1.0 and few["0"].read == 3
    assert torch.equal(few["0"].rows, again.rows) and torch.equal(few["0"].I_tau, again.I_tau)
    J, Jx = jacobians(model[:1], x)
    J, Jx = F.pad(J[:, few["0"].rows], (0, 21)), Jx[:, few["0"].rows]
    close(few["0"].trace, mean_part(J, Jx, variances.diag()).diagonal(dim1=1, dim2=2).sum(1))
    whole = activations_information(Task(model), x, layers=["0"], **options)["0"]
    assert (few["0"].I_tau <= whole.I_tau).all()


def test_chunks_and_loaders_do_not_matter(rng, monkeypatch):
    model = cnn()
    x, y = torch.randn(7, 1, 5, 5, dtype=torch.float64, generator=rng), torch.randint(3, (7,), generator=rng)
    options = {"layers": ["2", "4"], "posterior": torch.full((num_weights(model),), 0.1), "tau": 0.3}
    options["tangents"] = {"turn": "rotation"}
    whole = activations_information(Task(model), (x, y), **options)
    monkeypatch.setattr(information, "BATCH", 2)
    parts = activations_information(Task(model), DataLoader(TensorDataset(x, y), 3), **options)
    for path in ("2", "4"):
        close(parts[path].I_tau, whole[path].I_tau, rtol=1e-10)
        close(parts[path].tangents["turn"].index, whole[path].tangents["turn"].index, rtol=1e-10)
    assert parts.noisy_loss == pytest.approx(whole.noisy_loss, rel=1e-12)


def test_float32_model(rng):
    model = cnn()
    x = torch.randn(5, 1, 5, 5, dtype=torch.float64, generator=rng)
    options = {"layers": "", "posterior": torch.full((num_weights(model),), 0.1), "tau": 0.3}
    truth = activations_information(Task(model), x, **options)[""]
    found = activations_information(Task(model.float()), x.float(), **options)[""]
    close(found.I_tau, truth.I_tau, rtol=1e-4)


def test_an_in_place_activation_after_the_layer_is_not_read(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)).double().eval()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    found = activations_information(Task(model, loss="mse"), x, layers="0", posterior=torch.ones(15), tau=0.1)["0"]
    assert found.dropped.tolist() == [0] * 5


def test_a_model_that_changes_its_input_in_place(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)).double().eval()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng).abs()
    options = {"posterior": torch.ones(15), "tau": 0.1, "covariance_term": True}
    found = activations_information(Task(model, loss="mse"), x.clone(), layers="1", **options)["1"]
    plain = activations_information(Task(model[1], loss="mse"), x, layers="", **options)[""]
    close(found.I_tau, plain.I_tau)


def test_the_model_is_left_as_it_was(rng):
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    x, y = torch.randn(5, 4, dtype=torch.float64, generator=rng), torch.zeros(5, dtype=torch.int64)
    activations_information(
        Task(model), (x, y), layers=["0", "2"], posterior=torch.ones(51), tau=0.2, covariance_term=True
    )
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert not any(module._forward_hooks for module in model.modules()) and not x.requires_grad


def refused(error, text, model=None, x=None, **options):
    model = mlp() if model is None else model
    x = torch.ones(5, 4).double() if x is None else x
    given = {"layers": "2", "posterior": torch.ones(num_weights(model)), "tau": 0.1} | options
    with pytest.raises(error, match=text):
        activations_information(Task(model), x, **given)


@pytest.mark.parametrize("tau", [0, -1.0, float("nan"), float("inf"), True])
def test_tau_must_be_above_zero(tau):
    refused(
        ConfigError, r"activations_information: tau must be finite and above 0; got .*\. Pass the deviation", tau=tau
    )


def test_draws_must_be_a_count():
    refused(ConfigError, r"draws must be a whole number of at least 0; got -1\. Pass 0", draws=-1)


def test_one_sample_must_fit_the_memory():
    refused(
        ConfigError,
        r"memory_limit must hold one sample's Jacobians at '2' \(needs \d+ bytes for 3 rows\); got 10 bytes\.",
        memory_limit=10,
    )


def test_a_model_in_train_mode_is_refused():
    refused(ConfigError, "the model must be in eval mode", model=mlp().train())


def test_nan_inputs_are_refused():
    x = torch.ones(5, 4).double()
    x[3, 1] = torch.nan
    refused(DataError, "x must be finite; got nan at sample 3", x=x)


def test_an_empty_batch_is_refused():
    refused(DataError, "must hold at least one sample", x=torch.ones(0, 4).double())


def test_tokens_have_no_derivative():
    refused(DataError, r"x must be one tensor of floats, .*; got torch\.int64\.", x=torch.ones(5, 4).long())


def test_a_jacobian_that_is_not_finite_is_told(rng):
    class Root(nn.Module):
        def forward(self, x):
            return x.clamp(min=0).sqrt()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), Root()).double().eval()
    model[0].bias.data.zero_()
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    x[2] = 0
    refused(
        NumericsError, "Jacobians must be finite; got NaN or infinity at '1' for sample 2", model=model, x=x, layers="1"
    )


def test_a_tangent_of_another_shape_is_refused():
    refused(
        ShapeError,
        r"tangents\['v'\] must have the inputs' shape \[5, 4\]; got \[5, 3\]",
        tangents={"v": torch.ones(5, 3)},
    )
