"""Processes that share a run: sums of the same bits, one refusal for all."""

import pathlib
import re

import pytest
import torch

from infotorch.errors import ConfigError, RankError, StoreError
from infotorch.measures.primal.moments import Moments
from infotorch.pipeline.ranks import ALONE, MomentsTree, Ranks
from tests.torchrun import torchrun

ROOT = pathlib.Path(__file__).parents[2]
CPU = torch.device("cpu")


def moments(count):
    rng = torch.Generator().manual_seed(count)
    exponents = 10.0 ** torch.randint(-8, 8, (count, 3, 3), generator=rng)
    values = exponents * torch.randn(count, 3, 3, generator=rng, dtype=torch.float64)
    return [Moments(second=value, cross=value[:, :1], num_samples=place) for place, value in enumerate(values)]


def summed(leaves, start, stop):
    tree = MomentsTree()
    for place in range(start, stop):
        tree.add(0, place, leaves[place])
    return tree


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 37])
def test_a_tree_sums_all_leaves_to_the_same_bits_from_any_shares(count):
    leaves = moments(count)
    whole = summed(leaves, 0, count)
    assert len(whole.nodes) == count.bit_count()
    want = whole.total()
    torch.testing.assert_close(want.second, sum(each.second for each in leaves), rtol=1e-12, atol=1e-6)
    assert want.num_samples == count * (count - 1) // 2
    for cut in range(1, count):
        joined = summed(leaves, 0, cut)
        for (level, place), value in summed(leaves, cut, count).nodes.items():
            joined.add(level, place, value)
        assert joined.nodes.keys() == whole.nodes.keys()
        assert torch.equal(joined.total().second, want.second) and torch.equal(joined.total().cross, want.cross)


def test_one_process_does_everything():
    assert ALONE.is_first and ALONE.size == 1
    assert ALONE.share([1, 2, 3]) == [1, 2, 3]
    assert ALONE.each(lambda items: [str(item) for item in items], [1, 2]) == ["1", "2"]
    assert ALONE.first(lambda: 5) == 5
    ALONE.agree("score", {"anything": 1})
    ALONE.wait()
    leaves = moments(5)
    assert torch.equal(ALONE.total(summed(leaves, 0, 5), CPU).second, summed(leaves, 0, 5).total().second)


CHILD = """
import os, sys
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
dist.init_process_group("gloo")
from tests.pipeline import test_ranks
test_ranks.among_others()
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # threads of gloo's libraries have aborted a process as it ended
"""


def among_others():
    """What every one of several processes sees; run by the test below."""
    ranks = Ranks(torch.distributed.group.WORLD)
    shares = ranks.each(lambda items: [(item, ranks.rank) for item in items], list(range(7)))
    assert [item for item, _ in shares] == list(range(7))  # in order, whoever made them
    owners = [rank for _, rank in shares]
    assert owners == sorted(owners) and max(map(owners.count, owners)) <= 3
    assert ranks.each(lambda items: [str(item) for item in items], [9]) == ["9"]  # fewer items than processes
    assert ranks.first(lambda: ranks.rank) == 0
    with pytest.raises(StoreError, match="rank 0 refuses"):
        ranks.first(refuse)
    with pytest.raises(StoreError, match="rank 0 refuses"):  # though it is the last that makes the only item
        ranks.each(refuse, [9])
    with pytest.raises(ZeroDivisionError if ranks.is_first else RankError, match=r"zero|got an error on rank 0"):
        ranks.first(lambda: 1 // 0)
    with pytest.raises(RankError if ranks.is_first else ZeroDivisionError, match=r"zero|got an error on rank 1"):
        ranks.each(lambda items: [1 // int(ranks.is_first)], list(range(5)))  # nobody waits for those that stumbled
    leaves = moments(13)
    own = MomentsTree()
    for place in ranks.share(range(13)):
        own.add(0, place, leaves[place])
    got, want = ranks.total(own, CPU), summed(leaves, 0, 13).total()
    assert torch.equal(got.second, want.second) and torch.equal(got.cross, want.cross)
    ranks.agree("score", {"seed": 1})
    last = ranks.size - 1
    with pytest.raises(
        ConfigError, match=rf"must have the same seed; got 0 on rank 0, 1 on rank {last}\. Give all of them"
    ):
        ranks.agree("score", {"dim": 1, "seed": int(ranks.rank == last)})
    ranks.wait()
    print(f"rank {ranks.rank} has seen all of it")


def refuse(*_):
    raise StoreError("score: rank 0 refuses; got nothing. Do nothing.")


def test_three_processes(tmp_path):
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    done = torchrun(3, child, ROOT, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(re.findall(r"rank (\d) has seen all of it", done.stdout)) == ["0", "1", "2"]  # lines may meet
