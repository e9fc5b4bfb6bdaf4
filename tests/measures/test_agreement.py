"""Correlations by their definitions."""

import numpy as np
import pytest
from scipy import stats

from infotorch.errors import ShapeError
from infotorch.measures.agreement import agreement


def test_equals_scipy_and_counts_the_highest_tenth():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(95).round(1)  # with ties
    b = a + rng.standard_normal(95)
    found = agreement(a, b)
    assert found.pearson == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    first = [set(np.argsort(-x, kind="stable")[:10].tolist()) for x in (a, b)]
    assert found.top_decile == len(first[0] & first[1]) / 10 and found.num_samples == 95


def test_a_score_that_is_the_same_for_all_has_no_correlation():
    found = agreement(np.ones(20), np.arange(20.0))
    assert found.spearman is None and found.pearson is None


def test_equal_scores_agree_in_everything():
    found = agreement(np.arange(30.0), np.arange(30.0))
    assert found.spearman == pytest.approx(1) and found.pearson == pytest.approx(1) and found.top_decile == 1


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((1,), (1,)), ((3, 1), (3, 1))], ids=str)
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ShapeError, match=r"both scores must be \[N\]"):
        agreement(*map(np.zeros, shapes))
