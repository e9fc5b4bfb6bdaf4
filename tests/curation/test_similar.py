"""All pairs at or above a cosine: those of a plain loop in float64, whatever the blocks."""

import math

import numpy as np
import pytest
import torch

from infotorch.curation import similar
from infotorch.curation.similar import InMemory, OnDisk, similar_pairs
from infotorch.errors import ConfigError, DataError
from infotorch.store.features import feature_store, open_features


def loop(values, threshold):
    """Pairs and cosines, by the definition."""
    rows = values.double().flatten(1).tolist()
    found = {}
    for i, a in enumerate(rows):
        for j in range(i + 1, len(rows)):
            b = rows[j]
            norm = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
            cosine = math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0
            if a == b:
                found[i, j] = (1.0, True)
            elif cosine >= threshold:
                found[i, j] = (cosine, False)
    return found


def clustered(rng, dtype, N=60):
    """Rows around ten directions; some equal, some equal but for their length or a sign of zero, some of zeros."""
    centers = torch.randn(10, 3, 4, generator=rng, dtype=dtype)
    rows = centers[torch.randint(10, (N,), generator=rng)]
    rows = rows + 0.1 * torch.randn(N, 3, 4, generator=rng, dtype=dtype)
    rows[7], rows[50], rows[51] = rows[3], rows[3], 2 * rows[3]
    rows[20] = rows[40] = 0.0
    rows[41] = -0.0
    return rows


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_pairs_are_those_of_a_loop(rng, dtype, threshold, block, monkeypatch):
    monkeypatch.setattr(similar, "BLOCK_ROWS", block)
    values = clustered(rng, dtype)
    pairs, cosines, exact = similar_pairs(InMemory(values), threshold)
    truth = loop(values, threshold if threshold < 1 else 2.0)
    assert {tuple(pair) for pair in pairs.tolist()} == set(truth) and len(pairs) == len(truth)
    for pair, cosine, equal in zip(pairs.tolist(), cosines, exact, strict=True):
        want, same = truth[tuple(pair)]
        np.testing.assert_allclose(cosine, want, rtol=1e-12)
        assert equal == same
    assert (np.diff(cosines) <= 0).all()
    assert {(3, 7), (3, 50), (7, 50), (20, 40), (20, 41), (40, 41)} == {tuple(p) for p in pairs[exact].tolist()}


def test_rounding_of_the_products_decides_nothing():
    """The products alone, in float32, put many of these pairs on the wrong side."""
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(2000, generator=rng)
    values = base + 0.1 * torch.randn(40, 2000, generator=rng)
    truth = loop(values, -1.0)
    for cosine, _ in list(truth.values())[:40]:
        threshold = cosine - 1e-12  # just below the cosine of a pair
        pairs, _, _ = similar_pairs(InMemory(values), threshold)
        assert {tuple(pair) for pair in pairs.tolist()} == {pair for pair, (c, _) in truth.items() if c >= threshold}


def test_features_on_disk_are_rows(rng, tmp_path):
    values = clustered(rng, torch.float32).numpy()
    with feature_store(tmp_path / "f", key={}, num_rows=60, part_size=13) as store:
        for part in store.parts():
            rows = values[part.start : part.stop]
            part.write([(rows, rows[:, :, 0])], "x")
    held = OnDisk(open_features(tmp_path / "f"))
    found, truth = similar_pairs(held, 0.9), similar_pairs(InMemory(torch.from_numpy(values)), 0.9)
    assert all(np.array_equal(a, b) for a, b in zip(found, truth, strict=True))


def test_whole_numbers_and_halves_are_rows():
    pictures = torch.tensor([[0, 255], [0, 254], [255, 0]], dtype=torch.uint8)
    assert similar_pairs(InMemory(pictures), 0.99)[0].tolist() == [[0, 1]]
    assert similar_pairs(InMemory(pictures.half()), 0.99)[0].tolist() == [[0, 1]]


def test_no_pair_is_an_answer():
    pairs, cosines, exact = similar_pairs(InMemory(torch.eye(3)), 0.5)
    assert pairs.shape == (0, 2) and len(cosines) == len(exact) == 0
    assert similar_pairs(InMemory(torch.ones(1, 2)), 0.5)[0].shape == (0, 2)


def test_progress_counts_blocks(monkeypatch):
    monkeypatch.setattr(similar, "BLOCK_ROWS", 2)
    told = []
    similar_pairs(InMemory(torch.eye(5)), 0.5, lambda *step: told.append(step))
    assert told == [("comparing samples", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_that_are_not_finite_are_named(bad, monkeypatch):
    monkeypatch.setattr(similar, "BLOCK_ROWS", 2)
    values = torch.ones(5, 2)
    values[3, 1] = bad
    with pytest.raises(DataError, match=r"duplicates: rows must be finite; got nan or inf in sample 3\."):
        similar_pairs(InMemory(values), 1.0)


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(similar, "MAX_PAIRS", 100)
    rng = torch.Generator().manual_seed(0)
    near = 1 + 0.01 * torch.rand(20, 4, generator=rng)
    with pytest.raises(
        ConfigError, match=r"pairs must be at most 100; got more at threshold 0\.9\. Raise the threshold"
    ):
        similar_pairs(InMemory(near), 0.9)
    with pytest.raises(ConfigError, match=r"pairs must be at most 100; got more at threshold 1\. Leave out what all"):
        similar_pairs(InMemory(torch.ones(20, 4)), 1.0)
