"""Sums over samples, whatever they are cut into."""

import torch

from infotorch.measures.primal import moments
from tests.laws import assert_same


def test_sums_do_not_depend_on_the_tiles(rng, monkeypatch):
    features, residual = torch.randn(50, 7, generator=rng), torch.randn(50, 2, generator=rng).double()
    monkeypatch.setattr(moments, "TILE_BYTES", 8 * 7 * 3)
    got = moments.moments_of(features, residual, 25)
    assert_same(got.second, features.double().mT @ features.double())
    assert torch.equal(got.second, got.second.mT)
    assert_same(got.cross, features.double().mT @ residual)
    parts = moments.moments_of(features[:20], residual[:20], 10) + moments.moments_of(features[20:], residual[20:], 15)
    assert_same(parts.second, got.second)
    assert parts.num_samples == got.num_samples == 25
