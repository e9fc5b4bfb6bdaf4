"""infotorch sweep beta, on a task of one's own."""

import json

import pytest

TASK = """
import concurrent.futures
import torch
from torch import nn
from infotorch import Task

def digits():
    torch.manual_seed(0)
    x = torch.randn(40, 3)
    y = (x[:, 0] > 0).long()
    return Task(nn.Linear(3, 2)), (x[:30], y[:30]), (x[30:], y[30:])

def alone():
    return Task(nn.Linear(3, 2))

def pool():
    return concurrent.futures.ThreadPoolExecutor(2)

def none():
    return 3
"""
WORDS = ("sweep", "beta", "mine.py:digits", "--betas", "1,0.05", "--out", "grid", "--steps", 20, "--workers", 1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def test_a_table_at_80_columns_and_the_same_as_json(run, here):
    done = run(*WORDS, "--corruptions", "0,1", "--seeds", 2)
    assert done.code == 0 and "training cells: 8/8" in done.err
    lines = done.out.splitlines()
    assert lines[0] == "8 cells, N = 30; means over 2 seeds:" and max(map(len, lines)) <= 80
    assert lines[2].split() == ["random", "beta", "CE/N", "train", "test", "KL/N", "C/N"]
    assert [line.split()[:2] for line in lines[4:8]] == [["0", "0.05"], ["0", "1"], ["1", "0.05"], ["1", "1"]]
    assert any(line.startswith("100 % random  training accuracy below 3/4 ") for line in lines)
    again = run(*WORDS, "--corruptions", "0,1", "--seeds", 2, "--json")
    found = json.loads(again.out)
    assert again.code == 0 and "training cells" not in again.err  # nothing was missing
    assert len(found["rows"]) == 8 and len(found["means"]) == 4 and found["kind"] == "estimate"
    assert set(found["rows"][0]) == {
        "beta", "corruption", "seed", "noisy_ce", "stderr", "train_acc", "test_acc", "kl", "c"
    }  # fmt: skip


def test_any_executor_and_a_prior_of_a_number(run, here):
    words = [*WORDS[:-2], "--prior-var", 0.5, "--no-fresh", "--noise", "local", "--granularity", "filter"]
    done = run(*words, "--executor", "mine.py:pool")
    assert done.code == 0, done.err
    done = run(*words, "--executor", "mine.py:none")
    assert done.code == 1
    assert "sweep beta: none() in mine.py must return a concurrent.futures.Executor; got int." in done.err


def test_bad_usage(run, here):
    done = run(*WORDS, "--corruptions", "half")
    assert (done.code, done.err) == (
        2, "sweep beta: --corruptions must be numbers with commas between; got 'half'. Write --corruptions "
        "0.1,1.\n",
    )  # fmt: skip
    assert run(*WORDS, "--noise", "locale").code == 2
    done = run("sweep", "bata", "mine.py:digits")
    assert done.code == 2 and "Did you mean 'beta'?" in done.err
    done = run(*WORDS[:2], "mine.py:alone", *WORDS[3:])
    assert done.code == 2 and "there must be samples to train on; got no --data, and alone() returns none." in done.err
    done = run(*WORDS, "--prior-var", "0")
    assert done.code == 1 and "prior_var must be > 0 and finite; got 0.0." in done.err
    done = run(*WORDS, "--prior-var", "0.1,0.5")
    assert done.code == 2 and "--prior-var must be one number or learned; got '0.1,0.5'. A sweep has" in done.err
    done = run(*[word if word != "1,0.05" else "1,-1" for word in WORDS])
    assert done.code == 1 and "betas must be > 0 and finite; got -1.0." in done.err
    assert not (here / "grid").exists()
