"""infotorch bound: plan, run, status, estimate, on a task of one's own."""

import json

import pytest

TASK = """
import numpy as np
from infotorch.bounds import Experiment

def task():
    rng = np.random.default_rng(0)
    x = rng.random(60)
    y = np.where(rng.random(60) < 0.2, x <= 0.5, x > 0.5).astype(int)

    def train_fn(train, seed, extra):
        return lambda indices: y[train][np.abs(x[indices][:, None] - x[train]).argmin(1)]

    return Experiment(labels=y, train_fn=train_fn, items=x[:, None])

def broken():
    def train_fn(train, seed, extra):
        raise RuntimeError("boom " + str(extra.k2))
    return Experiment(labels=[0, 1] * 30, train_fn=train_fn)

def wrong():
    return 3
"""
PLAN = ("--pool-size", 60, "--n", 12, "--k1", 2, "--k2", 4, "--block", 4)


@pytest.fixture
def planned(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    done = run("bound", "plan", *PLAN, "--out", "grid")
    assert (done.code, done.out.splitlines()) == (
        0, ["8 runs on n = 12 of 60 items are planned.", "next  infotorch bound run TASK grid"]
    )  # fmt: skip
    return tmp_path


def test_from_a_plan_to_a_report(run, planned):
    done = run("bound", "run", "mine.py:task", "grid", "--workers", 1, "--no-probe")
    assert done.code == 0
    assert done.out.startswith("8 of 8 runs are there")
    assert "next  infotorch bound estimate grid" in done.out
    assert "training runs: 8/8" in done.err and "bound ~" in done.err
    words = ("bound", "estimate", "grid", "--bounds", "fcmi,kl")
    done = run(*words, "--out", "kept", "--task", "mine.py:task")
    assert done.code == 0
    assert "2×4 runs on n = 12 samples" in done.out
    assert "It is not a certified bound." in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert run("report", "kept").code == 0
    assert run("verify", "kept").code == 0
    found = json.loads(run(*words, "--json").out)
    assert found["dir"] == "grid" and set(found["bounds"]) == {"fcmi", "kl"}


def test_a_larger_plan_keeps_the_runs(run, planned):
    words = ("bound", "run", "mine.py:task", "grid", "--workers", 1, "--no-probe")
    run(*words)
    done = run("bound", "plan", *PLAN[:-4], "--k2", 8, "--block", 4, "--out", "grid")
    assert done.out.splitlines()[:2] == ["16 runs on n = 12 of 60 items are planned.", "8 of them are there."]
    assert "training runs: 16/16" in run(*words).err
    assert "2×8 runs" in run("bound", "estimate", "grid").out
    done = run("bound", "plan", *PLAN, "--seed", 1, "--out", "grid")
    assert (done.code, "got seed = 1, where they were begun with 0" in done.err) == (1, True)


def test_shards_make_the_whole(run, planned):
    for shard in ("1/2", "2/2"):
        done = run("bound", "run", "mine.py:task", "grid", "--workers", 1, "--shard", shard, "--no-probe", "--json")
        assert done.code == 0
    assert json.loads(done.out)["missing"] == []


def test_a_run_that_fails_is_named(run, planned):
    done = run("bound", "run", "mine.py:broken", "grid", "--workers", 1, "--no-probe")
    assert done.code == 1
    assert "(k1=0, k2=0): RuntimeError: boom 0" in done.err
    assert len(done.err.splitlines()) == 1


def test_the_learners_own_traceback_is_shown_on_demand(run, planned):
    done = run("bound", "run", "mine.py:broken", "grid", "--workers", 1, "--no-probe", "--debug")
    assert "In cell (k1=0, k2=0):" in done.err and "mine.py" in done.err and "in train_fn" in done.err


def test_an_incomplete_grid_is_named(run, planned):
    done = run("bound", "estimate", "grid")
    assert (done.code, "Call run first." in done.err) == (1, True)


@pytest.mark.parametrize(("words", "text"), [
    (("run", "mine.py:task", "grid", "--shard", "3"), "--shard must be I/N, such as 2/8; got '3'"),
    (("run", "mine.py:task", "grid", "--shard", "3/2"), "shard must be (i, N) with i from 1 to N"),
    (("run", "mine.py:wrong", "grid"), "must return an infotorch.bounds.Experiment; got int"),
    (("run", "mine.py:tusk", "grid"), "Did you mean 'task'?"),
    (("estimate", "grid", "--bounds", "fcmy"), "Did you mean 'fcmi'?"),
    (("estimate", "grid", "--task", "mine.py:task"), "--task must come with --out"),
    (("status", "nowhere"), "nowhere must be a folder of runs; got no such folder"),
    (("estimat", "grid"), "Did you mean 'estimate'?"),
    (("plan", "--pool-size", "10", "--n", "6", "--k1", "1", "--k2", "10", "--out", "new"), "pool must hold 2n = 12"),
])  # fmt: skip
def test_mistakes_are_told_in_a_line(run, planned, words, text):
    done = run("bound", *words)
    assert done.code in (1, 2)
    assert text in done.err
    assert len(done.err.splitlines()) == 1
