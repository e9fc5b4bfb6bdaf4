import itertools

import pytest

from infotorch.blocks.plan import plan_panels, plan_parts
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
        ConfigError, match=r"ntk: memory_limit must hold one sample of each side \(needs 22 bytes\); got 21 bytes"
    ):
        plan(20, None, 21)


def parts(N, K, limit):
    """(samples, seeds) of parts where a sample takes 10 bytes and 4 a seed."""
    planned = plan_parts("norms", N, K, bytes_per_sample=10, bytes_per_seed=4, memory_limit=limit)
    return [[(s.start, s.stop) for s in axis] for axis in (planned.samples, planned.seeds)]


def test_a_batch_that_fits_is_one_part():
    assert parts(5, 1, 70) == [[(0, 5)], [(0, 1)]]
    assert parts(5, 3, 110) == [[(0, 5)], [(0, 3)]]


def test_samples_are_divided_before_seeds():
    assert parts(5, 1, 69) == [[(0, 4), (4, 5)], [(0, 1)]]
    assert parts(3, 10, 50) == [[(0, 1), (1, 2), (2, 3)], [(0, 10)]]
    assert parts(2, 10, 49) == [[(0, 1), (1, 2)], [(0, 5), (5, 10)]]


@pytest.mark.parametrize("K", range(4, 30))
def test_no_seed_is_left_alone(K):
    for limit in range(22, 10 + 4 * K):
        seeds = parts(1, K, limit)[1]
        assert seeds[0][0] == 0 and seeds[-1][1] == K
        assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(seeds))
        assert all(2 <= stop - start <= (limit - 10) // 4 for start, stop in seeds)


def test_one_sample_that_does_not_fit_with_three_seeds_is_refused():
    for K, limit in ((1, 13), (2, 17), (10, 21)):
        says = rf"norms: memory_limit must hold one sample \(needs {limit + 1} bytes\); got {limit} bytes"
        with pytest.raises(ConfigError, match=says):
            parts(3, K, limit)
