"""The demo of bounds: what its acceptance asks of it."""

import pytest

from infotorch import demo


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return demo.run_bounds(tmp_path_factory.mktemp("demo"))


def test_the_bound_is_above_the_gap_and_not_far(found):
    for report in found.reports:
        assert report.num_runs == (20, 20, 20)
        assert 1.5 <= report["fcmi"].value / report.gap <= 6
        assert report["kl"].value >= report.test_error.mean()


def test_it_leaves_a_report(found):
    text = found.report.read_text()
    assert "It is not a certified bound" in text
    assert "digit-" in text
