"""Means of repeats, and the t test of scipy."""

import itertools
import math

import pytest
from scipy import stats

from infotorch.pipeline.repeats import confidence, mean_of


def test_means_have_standard_errors():
    assert mean_of([0.5]) == (0.5, None)
    assert mean_of([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    values = [0.3, 0.1, 0.7, 0.7, -2.0]
    assert mean_of(values)[1] == pytest.approx(stats.sem(values), rel=1e-12)


@pytest.mark.parametrize("repeats", [2, 3, 4, 5, 6, 10, 31, 200])
@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 2.0, 4.3, 12.7, 100.0])
def test_confidence_is_that_of_students_t(repeats, t):
    want = 1 - 2 * stats.t.sf(t, repeats - 1)
    for mean, stderr in itertools.product((t, -t), (1.0,)):
        assert confidence(mean, stderr, repeats) == pytest.approx(want, abs=1e-12)
    assert confidence(t * 1e-3, 1e-3, repeats) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_repeats_that_are_all_alike_are_sure_unless_they_are_0(repeats):
    assert confidence(0.1, 0.0, repeats) == pytest.approx(1.0) and confidence(0.0, 0.0, repeats) == 0.0


def test_confidence_of_a_t_test_on_values():
    values = [0.02, 0.05, -0.01, 0.03]
    found = confidence(*mean_of(values), len(values))
    assert found == pytest.approx(1 - stats.ttest_1samp(values, 0.0).pvalue, abs=1e-12) and math.isfinite(found)
