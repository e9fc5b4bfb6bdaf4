"""Self-influence and TRAK's self-scores: dense matrices of explicit gradients, in every form."""

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import Task, UniqueInformation, pipeline, sketch
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures.self_scores import LogOdds, from_kernel
from infotorch.pipeline import streaming
from tests import oracles
from tests.measures.test_unique_information import C, N, close, make

BOTH = ("self_influence", "trak_self")
FORMS = [{"form": "dual"}, {"form": "primal", "dim": 10**6}]
L2 = 0.05


def scores(task, x, y, **options):
    return UniqueInformation(**{"also": BOTH, "l2": L2, **options}).scores(task, x, y)


def quadratic(u, H):
    """u_i^T H^-1 u_i of gradients u [N, P]."""
    return torch.einsum("np,np->n", u, torch.linalg.solve(H, u.mT).mT)


def self_influence(J, f, y, ridge, *, loss, kept=slice(None)):
    """g^T (H + ridge I)^-1 g, with the loss's own gradient g and Gauss-Newton matrix H."""
    onehot = nn.functional.one_hot(y, f.shape[1])
    if loss == "mse":
        S, error = torch.eye(f.shape[1], dtype=f.dtype).expand(len(f), -1, -1), f - onehot
    else:
        p = f.softmax(1)
        S, error = torch.diag_embed(p) - p[:, :, None] * p[:, None], p - onehot
    H = torch.einsum("ncp,ncd,ndq->pq", J[kept], S[kept], J[kept])
    return quadratic(torch.einsum("ncp,nc->np", J, error), H + ridge * torch.eye(len(H), dtype=f.dtype))


def log_odds(f, y):
    p = f.softmax(1).gather(1, y[:, None])[:, 0]
    return (p / (1 - p)).log()


def trak(gradients, f, y, ridge, kept=slice(None)):
    """As the TRAK package has it: X (X^T X + lambda I)^-1 times targets' gradients, times Q = 1 - p."""
    X = gradients[kept]
    xtx_inv = torch.linalg.inv(X.mT @ X + ridge * torch.eye(X.shape[1], dtype=X.dtype))
    features = gradients @ xtx_inv
    p = f.softmax(1).gather(1, y[:, None])[:, 0]
    return (features @ gradients.mT).diagonal() * (1 - p)


def margins_gradients(model, x, y):
    found = oracles.per_sample_grads(model, log_odds, x, y)
    return torch.cat([g.flatten(1) for g in found.values()], 1)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["form"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy_ggn"])
@pytest.mark.parametrize("l2", [1e-6, L2, 1e6])
def test_equal_dense_inverses_of_explicit_gradients(form, loss, l2, rng):
    model, x, y, _ = make(rng)
    got = scores(Task(model), x, y, loss=loss, l2=l2, **form)
    J, f = oracles.jacobian(model, x), model(x).detach()
    close(got["self_influence"].values, self_influence(J, f, y, N * l2, loss=loss), rtol=1e-7)
    close(got["trak_self"].values, trak(margins_gradients(model, x, y), f, y, N * l2), rtol=1e-7)
    assert (got["self_influence"].unit, got["trak_self"].kind) == ("nats", "diagnostic")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["form"])
def test_last_layer_shares_its_features(form, rng):
    model, x, y, _ = make(rng)
    for time in (None, [1.0, 5.0]):
        fast = scores(Task(model), x, y, layers="last", time=time, **form)
        full = scores(Task(model), x, y, layers=["2.*"], form="dual", time=time)
        for name in BOTH:
            close(fast[name].values, full[name].values)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["form"])
def test_one_logit_is_two(form, rng):
    model, x, y, _ = make(rng, outputs=1)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = model

        def forward(self, x):
            z = self.one(x)
            return torch.cat([torch.zeros_like(z), z], 1)

    for labels in (y, y.double()):
        one = scores(Task(model, loss="binary_cross_entropy"), x, labels, also="trak_self", **form)
        two = scores(Task(Two().eval()), x, y, also="trak_self", form="dual")
        close(one["trak_self"].values, two["trak_self"].values)
        assert "self_influence" not in one.columns


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["form"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy_ggn"])
def test_samples_already_gone_are_in_no_matrix_and_score_0(form, loss, rng):
    model, x, y, _ = make(rng)
    removed = torch.zeros(N, dtype=torch.bool)
    removed[[1, 4]] = True
    got = scores(Task(model), x, y, removed=removed, loss=loss, **form)
    J, f, ridge = oracles.jacobian(model, x), model(x).detach(), (N - 2) * L2
    truths = (
        self_influence(J, f, y, ridge, loss=loss, kept=~removed),
        trak(margins_gradients(model, x, y), f, y, ridge, kept=~removed),
    )
    for name, truth in zip(BOTH, truths, strict=True):
        close(got[name].values, truth * ~removed)


def test_without_a_ridge_features_that_samples_span_have_an_inverse(rng):
    """The formula of the TRAK package with its default lambda, 0, on the sketch."""
    model, x, y, _ = make(rng)
    task, dim = Task(model), 6
    got = scores(task, x, y, form="primal", dim=dim, l2=0.0, time=3.0)
    phi, f = sketch(task, x, dim=dim, seed=0, seeds="logits"), model(x).detach()
    others = f.scatter(1, y[:, None], -torch.inf).softmax(1)
    gradients = torch.einsum("nck,nc->nk", phi, nn.functional.one_hot(y, C) - others)
    close(got["trak_self"].values, trak(gradients, f, y, 0.0))
    close(got["self_influence"].values, self_influence(phi, f, y, 0.0, loss="mse"))
    with pytest.raises(NumericsError, match=r"gradients that trak_self is of; got rank 9 of 12"):
        scores(task, x, y, form="primal", dim=12, l2=0.0, time=3.0, also="trak_self")
    with pytest.raises(
        ConfigError, match=r"also needs l2 > 0, for a Gauss-Newton matrix that has an inverse; got l2=0"
    ):
        scores(task, x, y, l2=0.0, time=3.0)


def test_self_influence_is_the_growth_of_the_loss_as_the_weight_falls(rng):
    """At the optimum of a linear model, by central differences of the optimum itself."""
    x = torch.randn(N, 4, dtype=torch.float64, generator=rng)
    y = torch.randn(N, 1, dtype=torch.float64, generator=rng)
    ridge = N * L2

    def optimum(weights):
        return torch.linalg.solve(x.mT @ (weights[:, None] * x) + ridge * torch.eye(4), x.mT @ (weights[:, None] * y))

    model = nn.Linear(4, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.copy_(optimum(torch.ones(N, dtype=torch.float64)).mT)
    got = scores(Task(model, loss="mse"), x, y, also="self_influence", form="dual")["self_influence"].values
    step, growth = 1e-5, []
    for n in range(N):
        weights = torch.ones(2, N, dtype=torch.float64)
        weights[0, n], weights[1, n] = 1 - step, 1 + step
        less, more = (0.5 * (x[n] @ optimum(w) - y[n]).square().sum() for w in weights)
        growth.append(float((less - more) / (2 * step)))
    close(got, np.array(growth), rtol=1e-7)


def test_golden():
    """Inputs 1 and 2, weight 0, targets 1 and 0, ridge 1: H + 1 = 6, gradients -1 and 0; log-odds of logits (0, wx)."""
    model = nn.Linear(1, 1, bias=False).double().eval()
    nn.init.zeros_(model.weight)
    x, y = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([1, 0])
    for form in FORMS:
        got = scores(Task(model, loss="binary_cross_entropy"), x, y, l2=0.5, **form)
        np.testing.assert_allclose(got["self_influence"].values, [1 / 6, 0])
        np.testing.assert_allclose(got["trak_self"].values, [1 / 12, 4 / 12])


def test_a_label_beyond_doubt_keeps_its_digits(rng):
    """1 - p of 1e-30 is not 0, and the gradient of the log-odds not 0 / 0."""
    model, x, y, _ = make(rng)
    with torch.no_grad():
        model[2].weight.mul_(60)
    f = model(x).detach()
    y = f.argmax(1)
    doubt = (f.scatter(1, y[:, None], -torch.inf).logsumexp(1) - f.logsumexp(1)).exp()
    assert doubt.min() < 1e-16
    for loss in ("mse", "cross_entropy_ggn"):
        got = scores(Task(model), x, y, loss=loss, form="dual", also="trak_self")["trak_self"].values
        others = f.scatter(1, y[:, None], -torch.inf).softmax(1)
        u = torch.einsum("ncp,nc->np", oracles.jacobian(model, x), nn.functional.one_hot(y, C) - others)
        truth = quadratic(u, u.mT @ u + N * L2 * torch.eye(u.shape[1])) * doubt
        np.testing.assert_allclose(got, truth, rtol=1e-6)


def test_an_ensemble_has_means_and_standard_errors(rng):
    models, (x, y) = [make(rng)[0] for _ in range(3)], make(rng)[1:3]
    each = [scores(Task(m), x, y) for m in models]
    got = scores(Task(models[0]), x, y, models=models)
    for name in BOTH:
        values = np.stack([one[name].values for one in each])
        close(got[name].values, values.mean(0))
        close(got[f"{name}_stderr"].values, values.std(0, ddof=1) / np.sqrt(3))


@pytest.mark.parametrize("options", [{}, {"layers": "last"}, {"loss": "cross_entropy_ggn"}], ids=str)
def test_two_passes_over_the_disk_give_the_scores_of_memory(options, tmp_path, rng, monkeypatch):
    """The features are made once and serve all columns."""
    monkeypatch.setattr(streaming, "PART_BYTES", 2 * 8 * 8 * 16 * C)
    model, x, y, _ = make(rng, num_samples=50)
    measure = UniqueInformation(form="primal", dim=16, also=BOTH, l2=L2, **options)
    told = []
    got = pipeline.score(
        Task(model), (x, y), measure, out=tmp_path / "run", batch_size=8, shard_size=30, fidelity=0,
        progress=lambda stage, done, total: told.append((stage, done)),
    )  # fmt: skip
    want = measure.scores(Task(model), x, y)
    assert list(got.columns) == list(want.columns) and set(BOTH) < set(got.columns)
    for name, column in want.columns.items():
        close(got[name].values, column.values, rtol=1e-9)
    assert len([step for step in told if step == ("features", 50)]) == 1


def test_a_sketched_run_in_float32_without_l2_is_compared_all_the_same(tmp_path, rng):
    model, x, y, _ = make(rng, num_samples=50)
    measure = UniqueInformation(form="primal", dim=8, also=BOTH, time=2.0)
    with pytest.warns(UserWarning, match="Raise dim"):
        pipeline.score(Task(model.float()), (x.float(), y), measure, out=tmp_path / "run")
    (note,) = pipeline.scoring.store.open(tmp_path / "run").notes()["fidelity"]
    assert note["why_not"] is None and list(note["columns"]) == ["unique_information_weights"]


def test_an_indefinite_kernel_is_refused():
    kernel = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    odds = LogOdds(gradient=torch.ones(2, 1, dtype=torch.float64), doubt=torch.ones(2, dtype=torch.float64))
    with pytest.raises(NumericsError, match="K must be positive semidefinite"):
        from_kernel(kernel, odds.gradient, odds, torch.ones(2, dtype=torch.bool), ridge=0.5, influence=True)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"also": "self_influense"}, "also must be one of 'self_influence', 'trak_self'; got 'self_influense'. Did"),
        ({"also": ["trak_self", "trak_self"]}, r"entries of also must differ; got \['trak_self', 'trak_self'\]"),
        ({"groups": torch.ones(1, N, dtype=torch.bool)}, "self-scores are of single samples; got also with groups"),
    ],
)
def test_options_that_contradict_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        UniqueInformation(**{"also": BOTH, "l2": L2} | options)


def test_trak_needs_classes_before_any_work(rng):
    model, x, y, _ = make(rng)
    target = torch.randn(N, C, dtype=torch.float64, generator=rng)
    progress = {"progress": lambda *_: pytest.fail("the kernel was begun")}
    measure = UniqueInformation(also="trak_self", l2=L2)
    with pytest.raises(ConfigError, match="trak_self: outputs must be logits; got those of a task with loss='mse'"):
        measure.scores(Task(model, loss="mse"), x, target, **progress)
    with pytest.raises(DataError, match="trak_self: y must be one class label a sample"):
        measure.scores(Task(model), x, target.softmax(1), **progress)
    one, *_ = make(rng, outputs=1)
    with pytest.raises(ConfigError, match=r"trak_self: outputs must be logits \[N, C\] of at least two classes"):
        measure.scores(Task(one), x, y.clamp(max=1), **progress)


def test_the_moment_of_shared_features_counts_in_the_budget(rng):
    """A last layer's log-odds have a block of features for each output."""
    model, x, y, _ = make(rng, num_samples=400)
    measure = UniqueInformation(form="primal", layers="last", also="trak_self", l2=L2)
    plain = UniqueInformation(form="primal", layers="last", l2=L2)
    ready = measure.prepared(Task(model), x, y)
    least = 32 * 7**2 + 4 * 7 * 400 + (256 << 20)
    assert plain.chosen(ready, least).name == "primal"
    with pytest.raises(ConfigError, match="form='primal' needs"):
        measure.chosen(ready, least)
    assert measure.chosen(ready, least + 32 * (7 * C) ** 2).name == "primal"
