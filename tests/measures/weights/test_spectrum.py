"""Sums over eigenvalues."""

from decimal import Decimal, getcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infotorch.measures.weights.spectrum import Curve, Spectrum, divergence

positive = st.floats(1e-12, 1e8)


def exact(t):
    """(ln(1 + t) - t / (1 + t)) / 2 in 60 digits."""
    getcontext().prec = 60
    t = Decimal(t)
    return float(((1 + t).ln() - t / (1 + t)) / 2)


@given(st.one_of(positive, st.floats(-0.99, -1e-12)))
def test_divergence_keeps_its_digits(t):
    got = float(divergence(torch.tensor([t], dtype=torch.float64))[0])
    assert got == pytest.approx(exact(t), rel=2e-9 if 1e-3 < abs(t) < 1e-2 else 1e-10)
    assert got >= 0


def test_divergence_of_nothing_is_nothing():
    assert divergence(torch.zeros(3).double()).tolist() == [0, 0, 0]


@given(st.lists(positive, min_size=1, max_size=6), st.floats(1e-4, 1e4))
def test_sums_are_those_of_the_matrix(theta, s):
    values = torch.tensor(theta, dtype=torch.float64)
    spectrum = Spectrum(theta=values, weight=torch.ones_like(values))
    t = s * values
    assert spectrum.logdet(s) == pytest.approx(float(t.log1p().sum()))
    assert spectrum.d_eff(s) == pytest.approx(float((t / (1 + t)).sum()))
    assert 0 <= spectrum.d_eff(s) <= len(theta)
    assert spectrum.information(s) >= 0 and 0 <= spectrum.capacity(s) <= len(theta) / 2
    assert spectrum.stderr(s) is None and spectrum.per_layer(s) is None


def test_probes_are_averaged_and_spread():
    """Nodes and weights of two probes: a quadrature for each."""
    theta = torch.tensor([[1.0, 3.0], [2.0, 0.0]], dtype=torch.float64)
    weight = torch.tensor([[2.0, 1.0], [4.0, 9.0]], dtype=torch.float64)
    spectrum = Spectrum(theta=theta, weight=weight)
    sums = [2 * exact(1) + exact(3), 4 * exact(2)]
    assert spectrum.information(1.0) == pytest.approx(sum(sums) / 2, rel=1e-12)
    assert spectrum.stderr(1.0) == pytest.approx(abs(sums[0] - sums[1]) / 2, rel=1e-12)


def test_layers_own_their_nodes():
    theta, owner = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64), torch.tensor([0, 1, 0])
    spectrum = Spectrum(theta=theta, weight=torch.ones_like(theta), layers=("a", "b"), owner=owner)
    assert spectrum.per_layer(1.0) == pytest.approx({"a": exact(1) + exact(2), "b": exact(3)})


def test_curve_is_a_row_a_beta():
    theta = torch.tensor([1.0, 3.0], dtype=torch.float64)
    spectrum = Spectrum(theta=theta, weight=torch.ones_like(theta))
    curve = Curve.of(spectrum, [0.5, 2.0], 4.0, 6.0)
    assert curve.betas.tolist() == [0.5, 2.0]
    assert curve.nats.tolist() == [3.0 + spectrum.information(8.0), 3.0 + spectrum.information(2.0)]
    assert curve.d_eff.tolist() == [spectrum.d_eff(8.0), spectrum.d_eff(2.0)]
    assert curve.logdet.shape == (2,) and Curve.of(spectrum, [], 1.0, 0.0).nats.shape == (0,)
