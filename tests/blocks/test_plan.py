import pytest

from infotorch.blocks.plan import plan_panels
from infotorch.errors import ConfigError


def plan(N, M, limit, batch=4):
    return plan_panels(
        "ntk", N, M, batch=batch, bytes_per_sample=10, work=lambda rows, cols, batch: rows + cols, memory_limit=limit
    )


def test_all_is_held_where_it_fits():
    assert (plan(20, None, 220).panel, plan(20, None, 220).nbytes) == (None, 220)
    assert plan(20, 30, 550).panel is None


def test_panels_are_the_most_whole_batches_that_fit_twice():
    assert plan(20, None, 219).panel == 8  # 2 * 8 * 11 = 176, 2 * 12 * 11 = 264
    assert plan(20, None, 219).nbytes == 176
    assert plan(20, 30, 549).panel == 24


def test_batches_shrink_only_when_one_of_each_side_does_not_fit():
    assert plan(20, None, 88).batch == 4
    assert (plan(20, None, 87).batch, plan(20, None, 87).panel) == (2, 2)
    assert plan(20, None, 22).batch == 1


def test_a_batch_is_no_larger_than_the_data():
    assert plan(3, None, 1000, batch=128).batch == 3


def test_one_sample_that_does_not_fit_is_refused():
    with pytest.raises(
        ConfigError, match=r"ntk: memory_limit must hold one sample of each side \(needs 1 MiB\); got 1 MiB"
    ):
        plan(20, None, 21)
