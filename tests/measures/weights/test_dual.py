"""The kernel's route: samples, layers and loaders."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import Task, weights_information
from infotorch.measures.weights.spectrum import divergence
from tests.measures.weights.golden_nets import CASES, case
from tests.measures.weights.truths import fisher_rows, net


@pytest.mark.parametrize("name", CASES)
def test_golden_leverages_and_leave_one_out(name):
    task, data, values = case(name)
    got = weights_information(task, data, prior_mean=values["w0"], estimator="gram", per_sample=True, draws=0)
    torch.testing.assert_close(got.leverage, values["leverage"], rtol=1e-10, atol=0)
    torch.testing.assert_close(got.loo_outputs, values["loo_outputs"].view_as(got.loo_outputs), rtol=1e-9, atol=1e-12)
    assert float(got.per_sample.sum()) == pytest.approx(got.d_eff, rel=1e-10)


def test_leave_one_out_of_ridge_regression_is_a_refit(rng):
    x, y = (torch.randn(7, n, dtype=torch.float64, generator=rng) for n in (3, 2))
    model = nn.Linear(3, 2, bias=False).double().eval()

    def fit(kept):
        return torch.linalg.solve(x[kept].mT @ x[kept] + 0.5 * torch.eye(3).double(), x[kept].mT @ y[kept]).mT

    with torch.no_grad():
        model.weight.copy_(fit(list(range(7))))
    got = weights_information(Task(model, loss="mse"), (x, y), beta=1.0, prior_var=2.0, draws=0)
    refits = torch.stack([fit([m for m in range(7) if m != n]) @ x[n] for n in range(7)])
    torch.testing.assert_close(got.loo_outputs, refits)


@pytest.mark.parametrize("prior_var", [0.5, {"0": 0.2, "2": 3.0}], ids=["one", "by layer"])
def test_parts_of_layers_are_those_of_the_dense_matrix(prior_var, rng):
    """Held together or computed one by one, they are the trace of sF (I + sF)^-1 over the layer's weights."""
    task, data = net(rng)
    rows = fisher_rows(task, data[0])
    variance = torch.full((43,), 0.5, dtype=torch.float64)
    if isinstance(prior_var, dict):
        variance[:25], variance[25:] = 0.2, 3.0
    H = rows.mT @ rows * variance / 0.3
    parts = torch.linalg.solve(H + torch.eye(43).double(), H).diagonal()
    truth = {"0": float(parts[:25].sum()), "2": float(parts[25:].sum())}
    for options in ({"estimator": "dense"}, {"estimator": "gram"}, {"estimator": "gram", "memory_limit": 16000}):
        got = weights_information(task, data, beta=0.3, prior_var=prior_var, draws=0, **options)
        assert got.per_layer == pytest.approx(truth, rel=1e-9)
        assert sum(got.per_layer.values()) == pytest.approx(got.d_eff, rel=1e-9)


def test_without_layers_nothing_else_changes(rng):
    task, data = net(rng)
    whole, without = (weights_information(task, data, estimator="gram", per_layer=kept) for kept in (True, False))
    assert without.per_layer is None
    assert without.nats == pytest.approx(whole.nats, rel=1e-12)
    assert without.measured_rise == pytest.approx(whole.measured_rise, rel=1e-9)


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_a_shuffling_loader_gives_what_one_batch_gives(estimator, rng):
    task, (x, y) = net(rng)
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, generator=rng)
    whole, parts = (weights_information(task, data, estimator=estimator) for data in ((x, y), loader))
    assert parts.nats == pytest.approx(whole.nats, rel=1e-11)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.N == whole.N == 9
    if estimator == "gram":
        assert sorted(parts.leverage.tolist()) == pytest.approx(sorted(whole.leverage.tolist()), rel=1e-9)


def test_parameters_of_one_layer_share_a_variance():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
            self.head.weight = self.emb.weight

        def forward(self, ids):
            return self.head(self.emb(ids).mean(1))

    task = Task(Tied().double().eval())
    data = torch.randint(5, (6, 2)), torch.randint(5, (6,))
    truth = weights_information(task, data, prior_var=0.5, estimator="dense", draws=0)
    got = weights_information(task, data, prior_var={"emb": 0.5, "head": 0.5}, estimator="gram", draws=0)
    assert got.nats == pytest.approx(truth.nats, rel=1e-10)


def test_only_exact_labels_know_samples(rng):
    task, data = net(rng)
    for options in ({"labels": "sketch"}, {"estimator": "diag"}):
        got = weights_information(task, data, draws=0, per_sample=True, **options)
        assert got.leverage is None and got.loo_outputs is None and got.per_sample is None


@pytest.mark.parametrize("prior_var", [1e-9, 1e-4, 1.0])
def test_curvature_that_is_small_beside_the_prior_keeps_its_digits(prior_var, rng):
    """The log-determinant and the effective dimension then agree in all digits that one factorisation has."""
    task, data = net(rng)
    rows = fisher_rows(task, data[0])
    t = prior_var * torch.linalg.eigvalsh(rows.mT @ rows).clamp(min=0)
    got = weights_information(task, data, prior_var=prior_var, estimator="gram", draws=0, per_layer=False)
    own = got.nats - 0.5 * got.dist2 / prior_var
    assert got.logdet == pytest.approx(float(t.log1p().sum()), rel=1e-8)
    assert got.d_eff == pytest.approx(float((t / (1 + t)).sum()), rel=1e-8)
    assert got._family.information(prior_var) == pytest.approx(float(divergence(t).sum()), rel=1e-8)
    assert own == pytest.approx(float(divergence(t).sum()), abs=1e-8 * got.nats)


def test_eigenvalues_are_found_when_they_are_asked_for(rng, monkeypatch):
    task, data = net(rng)
    found = []
    plain = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda K: found.append(len(K)) or plain(K))
    got = weights_information(task, data, estimator="gram", per_sample=True)
    assert not found
    curve = got.curve([got.beta, 2.0])
    assert len(found) == 1
    assert float(curve.nats[0]) == pytest.approx(got.nats, rel=1e-12)
    assert got.learning_capacity > 0 and len(found) == 1
