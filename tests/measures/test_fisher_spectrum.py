"""Sums over the Fisher information's eigenvalues, against the eigenvalues of the goldens."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch.errors import ConfigError, DataError
from infotorch.linalg import lanczos, spectral_sum
from infotorch.measures.fisher_spectrum import _signs, fisher_spectrum
from infotorch.task import Task
from tests.capture.test_seeds import NETS, golden

SCALES = (0.1, 1.0, 10.0, 1e4)


def net(name):
    """(task, batch, eigenvalues, eigenvectors) of a golden."""
    task, x, _, arrays = golden(name)
    values, columns = torch.linalg.eigh(arrays["fisher"])
    return task, (x, arrays["y"]), values.clamp(min=0), columns


def probe_vectors(task, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.cat([v.flatten() for v in _signs(task, generator).values()]) for _ in range(count)]


def forms(task, values, columns, count, fn):
    return torch.stack([(columns.mT @ v).square() @ fn(values) for v in probe_vectors(task, count)])


@pytest.mark.parametrize("name", NETS)
def test_all_steps_give_every_probes_form(name):
    """v^T f(F) v to 1e-8 at every scale, of one run."""
    task, batch, values, columns = net(name)
    spectrum = fisher_spectrum(task, batch, probes=3, steps=10_000)
    for s in SCALES:
        torch.testing.assert_close(
            spectrum.logdet(s).terms, forms(task, values, columns, 3, lambda t, s=s: torch.log1p(s * t)),
            rtol=1e-8, atol=0,
        )  # fmt: skip
        torch.testing.assert_close(
            spectrum.d_eff(s).terms, forms(task, values, columns, 3, lambda t, s=s: s * t / (1 + s * t)),
            rtol=1e-8, atol=0,
        )  # fmt: skip
        assert spectrum.logdet(s).quadrature_error == 0


def test_it_is_lanczos_on_the_fisher_information_with_a_node_at_zero():
    """With m steps it is exact for polynomials of degree 2 m; in P dimensions it would be to 2 m - 1."""
    task, batch, values, columns = net("mlp_tanh_ce")
    rules = fisher_spectrum(task, batch, probes=2, steps=3).rules
    for degree in range(1, 9):
        truth = forms(task, values, columns, 2, lambda t, degree=degree: t**degree)
        for rule, form in zip(rules, truth, strict=True):
            got = rule.form(lambda t, degree=degree: t**degree)
            assert (got == pytest.approx(float(form), rel=1e-9)) == (degree <= 6), degree


@pytest.mark.parametrize("name", ["mlp_relu_mse", "cnn_groups_ce", "emb_ln_attn_ce"])
def test_forms_grow_with_the_steps_and_are_never_above_the_exact_one(name):
    """And are nearer to it than those of as many steps in P dimensions, which lie above."""
    task, batch, values, columns = net(name)
    F = columns @ (values[:, None] * columns.mT)
    exact = forms(task, values, columns, 2, torch.log1p)
    before = torch.zeros(2, dtype=torch.float64)
    for m in (2, 3, 4, 6, 9):
        spectrum = fisher_spectrum(task, batch, probes=2, steps=m)
        terms = spectrum.logdet(1.0).terms
        assert (before < terms).all() and (terms < exact).all()
        primal = [float(v @ v) * spectral_sum(lanczos(F.matmul, v, m), torch.log1p) for v in probe_vectors(task, 2)]
        assert ((torch.tensor(primal, dtype=torch.float64) - exact) > (exact - terms)).all()
        d_eff = spectrum.d_eff(1.0).terms
        assert (d_eff < forms(task, values, columns, 2, lambda t: t / (1 + t))).all()
        before = terms


def test_the_quadrature_error_is_that_of_half_the_steps():
    task, batch, values, columns = net("emb_ln_attn_ce")
    whole, half = (fisher_spectrum(task, batch, probes=3, steps=m) for m in (8, 4))
    found = whole.logdet(1.0)
    assert found.quadrature_error == pytest.approx(found.value - half.logdet(1.0).value, rel=1e-9)
    error = float((forms(task, values, columns, 3, torch.log1p) - found.terms).mean())
    assert 0 < error < found.quadrature_error


@pytest.mark.parametrize("name", ["mlp_relu_mse", "mlp_tanh_ce"])
def test_the_standard_error_covers_the_exact_value(name):
    """Within two of them in at least 8 of 10 seeds; and the mean of all probes within three."""
    task, batch, values, _ = net(name)
    exact = float(torch.log1p(values).sum())
    found = [fisher_spectrum(task, batch, probes=8, steps=10, seed=seed).logdet(1.0) for seed in range(10)]
    assert sum(abs(one.value - exact) <= 2 * one.stderr for one in found) >= 8
    terms = torch.cat([one.terms for one in found])
    assert abs(float(terms.mean()) - exact) <= 3 * float(terms.std()) / math.sqrt(len(terms))


def test_steps_are_doubled_until_the_probes_differ_more(rng):
    """A spectrum over five decades takes more steps at a scale that sees all of it."""
    columns, _ = torch.linalg.qr(torch.randn(80, 80, generator=rng).double())
    x = torch.logspace(0, 2.5, 80).double()[:, None] * columns
    task, batch = Task(nn.Linear(80, 1, bias=False).double().eval(), loss="mse"), (x, torch.zeros(80, 1).double())
    low, high = (fisher_spectrum(task, batch, probes=4, steps="auto", scale=s) for s in (1e-6, 1e6))
    for spectrum, s in ((low, 1e-6), (high, 1e6)):
        found = spectrum.logdet(s)
        assert found.quadrature_error <= found.stderr
    assert len(low.rules[0].nodes) == 20 < len(high.rules[0].nodes)
    fixed = fisher_spectrum(task, batch, probes=4, steps=20)
    torch.testing.assert_close(low.logdet(1e-6).terms, fixed.logdet(1e-6).terms, rtol=1e-12, atol=0)


def test_without_curvature_all_sums_are_zero():
    """A net whose outputs do not depend on its weights; and one of which a layer is dead."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, 2))

        def forward(self, x):
            return 0 * (x @ self.w)

    batch = torch.ones(4, 3), torch.zeros(4, 2)
    for steps, options in ((40, {}), ("auto", {"scale": 1.0})):
        spectrum = fisher_spectrum(Task(Constant().eval(), loss="mse"), batch, steps=steps, **options)
        for found in (spectrum.logdet(1e6), spectrum.d_eff(1e6)):
            assert found.value == found.stderr == found.quadrature_error == 0
    dead = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    dead[0].bias.data.fill_(-100)
    spectrum = fisher_spectrum(Task(dead, loss="mse"), (torch.ones(5, 3).double(), torch.zeros(5, 2).double()))
    assert spectrum.logdet(1.0).terms.tolist() == pytest.approx([2 * math.log(6)] * 16)  # five samples, two biases


@pytest.mark.parametrize("M", ["one", "more than P"])
def test_edges(M, rng):
    """One sample of one output; and more rows than parameters."""
    N, C = (1, 1) if M == "one" else (30, 3)
    model = nn.Linear(2, C, bias=False).double().eval()
    x, y = torch.randn(N, 2, generator=rng).double(), torch.zeros(N, C).double()
    exact = C * float(torch.logdet(torch.eye(2).double() + 0.7 * x.mT @ x))
    found = fisher_spectrum(Task(model, loss="mse"), (x, y), probes=100).logdet(0.7)
    assert abs(found.value - exact) <= 3 * found.stderr + 1e-9


def test_float32_models():
    """What the products' rounding puts beyond the rank has no weight."""
    task, batch, values, columns = net("mlp_tanh_ce")
    small = Task(copy.deepcopy(task.model).float(), loss=task.loss)
    spectrum = fisher_spectrum(small, (batch[0].float(), batch[1]), probes=3, steps=200)
    for s in SCALES:
        exact = forms(task, values, columns, 3, lambda t, s=s: torch.log1p(s * t))
        torch.testing.assert_close(spectrum.logdet(s).terms, exact, rtol=1e-3, atol=0)


def test_loaders_and_seeds():
    task, (x, y), _, _ = net("mlp_tanh_ce")
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    terms = [
        fisher_spectrum(task, data, probes=3, steps=6, seed=seed).logdet(1.0).terms
        for data, seed in (((x, y), 0), (loader, 0), ((x, y), 0), ((x, y), 1))
    ]
    torch.testing.assert_close(terms[0], terms[1], rtol=1e-10, atol=0)
    assert torch.equal(terms[0], terms[2]) and not torch.equal(terms[0], terms[3])
    shuffled = DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True)
    with pytest.raises(DataError, match=r"^fisher_spectrum: the loader must give the same batches in every pass"):
        fisher_spectrum(task, shuffled)


def peak(call):
    """Bytes that a call holds at most at once, on the CPU."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batches", [1, 3])
def test_at_most_three_vectors_of_the_parameters_are_held(dtype, batches, rng):
    """Whatever the steps: the basis lies in the space of outputs."""
    model = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 2)).to(dtype).eval()
    P = sum(p.numel() for p in model.parameters())
    x, y = torch.randn(6, 300, generator=rng).to(dtype), torch.randint(0, 2, (6,), generator=rng)
    loader = DataLoader(TensorDataset(x, y), batch_size=6 // batches)
    held = peak(lambda: fisher_spectrum(Task(model), loader, probes=2, steps=6))
    assert P * 8 < held < 3.2 * P * 8, f"{held / P / 8:.2f} vectors of float64"


def test_misuse():
    task, batch, _, _ = net("linear_ce")
    for options, text in (
        ({"probes": 1}, "probes must be a whole number of at least 2; got 1"),
        ({"steps": 1}, "steps must be a whole number of at least 2; got 1"),
        ({"steps": "many"}, "steps must be a whole number of at least 2; got 'many'"),
        ({"steps": "auto"}, 'scale must come with steps="auto", and with it alone; got scale=None'),
        ({"scale": 1.0}, 'scale must come with steps="auto", and with it alone; got scale=1.0'),
        ({"steps": "auto", "scale": -1.0}, "scale must be finite and at least 0; got -1.0"),
    ):
        with pytest.raises(ConfigError, match=f"^fisher_spectrum: {text}"):
            fisher_spectrum(task, batch, **options)
    with pytest.raises(ConfigError, match=r"^fisher_spectrum: scale must be finite and at least 0; got nan"):
        fisher_spectrum(task, batch, probes=2, steps=2).logdet(math.nan)
