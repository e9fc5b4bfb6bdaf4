"""Two processes train what one does."""

import pathlib
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from infotorch.train.ranks import gathered, rank, real_rows, total, world_size
from tests.laws import assert_same_bits
from tests.train import distributed

HOUSE = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.train.distributed"]
    running = [
        subprocess.Popen([*command, str(r), str(folder / "rendezvous"), str(folder / "out")], cwd=HOUSE)
        for r in range(distributed.WORLD)
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    return [torch.load(f"{folder / 'out'}.{r}", weights_only=False) for r in range(distributed.WORLD)]


@pytest.mark.parametrize("name", distributed.OPTIONS)
def test_two_processes_equal_one(name, ranks):
    """Weights after 10 steps to 1e-12, with labels missing on one rank alone, noise included."""
    whole = distributed.steps(distributed.trainer(**distributed.OPTIONS[name]))
    for found in (each[name] for each in ranks):
        for mine, one in zip(found["weights"], whole["weights"], strict=True):
            assert (mine - one).abs().max() <= 1e-12
        for mine, one in zip(found["told"], whole["told"], strict=True):
            assert mine["loss"] == pytest.approx(one["loss"], rel=1e-12) and mine["labels"] == one["labels"]
            assert mine["match"] == pytest.approx(one["match"], rel=1e-12)
        assert torch.equal(found["ids"], whole["ids"]) and (found["ema"] - whole["ema"]).abs().max() < 1e-6
        for mine, one in zip(found["history"], whole["history"], strict=True):
            assert mine["acc_train"] == one["acc_train"] and mine["step"] == one["step"]
    for mine, theirs in zip(ranks[0][name]["weights"], ranks[1][name]["weights"], strict=True):
        assert_same_bits(mine, theirs)


def test_a_sampler_s_repeats_count_once(ranks):
    whole = distributed.fitting(distributed.trainer(lam=5.0, epochs=1))
    for found in (each["fitting"] for each in ranks):
        assert found["info"] == whole["info"] and found["labels"] == whole["labels"]
        assert found["val"] == whole["val"]
        assert found["transfer_nats"] == pytest.approx(whole["transfer_nats"], rel=1e-12)
        assert torch.equal(found["ids"], whole["ids"])
        for name in ("ema", "distance"):
            assert (found[name] - whole[name]).abs().max() < 1e-6


def test_two_processes_go_on_with_the_same_bits(ranks):
    assert ranks[0]["resumed"] and ranks[1]["resumed"]


def test_every_rank_learns_of_what_befell_one(ranks):
    for number, texts in enumerate(each["refused"] for each in ranks):
        assert "must be written; got 'no such file or directory'" in texts[0]
        assert ("labels must lie in 0..3" if number else "must be in range on every rank; got one") in texts[1]
        assert "LimitTrainer.step: the loss must be finite; got nan at step 0" in texts[2]
        assert ("first non-finite output in classifier.3" if number else "in another process, which names") in texts[2]


def test_misuse_in_several_processes(ranks):
    for unwrapped, without_ids in (each["misused"] for each in ranks):
        assert "classifier must be wrapped in DistributedDataParallel, as there are 2 processes; got Seq" in unwrapped
        assert "noise in several processes needs the samples' ids" in without_ids


def test_alone_there_is_nothing_to_exchange():
    assert (world_size(), rank()) == (1, 0) and gathered(3) == [3]
    assert total([1.5, 2.0], torch.device("cpu")) == [1.5, 2.0]


@pytest.mark.parametrize(("N", "world"), [(10, 3), (9, 3), (2, 4), (1, 1)])
def test_rows_of_a_rank_that_are_no_repeats(N, world):
    counts = []
    for r in range(world):
        sampler = DistributedSampler(range(N), world, r, shuffle=True)
        counts.append(real_rows(DataLoader(range(N), sampler=sampler)))
    assert sum(counts) == N
    dropping = DistributedSampler(range(N), world, 0, drop_last=True)
    assert real_rows(DataLoader(range(N), sampler=dropping)) is None and real_rows([1]) is None
