"""``infotorch train limit``: from a user's file to a run, and what is refused."""

import json

import pytest

from infotorch import store

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def made(N, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 3, generator=rng)
    return x, x.argmax(1)

def alone():
    return Task(nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 3)))

def whole():
    return alone(), made(200, 1), made(50, 2)

NETWORK = nn.Linear(3, 3)

def shared():
    return Task(NETWORK), made(200, 1)

def broken():
    raise ValueError("no weights here")
"""
SHORT = ["--noise", "uniform:0.4", "--epochs", "2", "--lr", "0.01", "--batch-size", "32", "--threads", "1"]


@pytest.fixture
def task(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(TASK)
    return lambda name: f"{file}:{name}"


def test_a_run_is_written_and_told_of(run, task, tmp_path):
    done = run("train", "limit", task("whole"), "--out", tmp_path / "a", *SHORT, "--compare", "--q", "laplace")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80 + len(str(tmp_path))
    assert lines[0] == "180 labels trained on; the 10 to look at first:"
    facts = {line.split()[0]: line for line in lines[-7:]}
    assert {"test", "validation", "memorised", "AUROC", "run", "report"} <= set(facts) and "nats" not in facts
    assert "cross-entropy" in facts["test"] and "cross-entropy" in facts["memorised"]
    assert done.err.splitlines()[-1].startswith("plain epoch 2/2: loss ")
    opened = store.open(tmp_path / "a")
    argv = opened.manifest["command"]["argv"]
    assert argv == (
        f"infotorch train limit {task('whole')} --noise uniform:0.4 --batch-size 32 --compare --q laplace --lr 0.01 "
        "--epochs 2 --out RUN"
    )
    assert sorted(path.name for path in opened.checkpoint_files()) == ["best.pt", "last.pt"]


def test_json_is_the_result_alone_and_quiet_is_quiet(run, task, tmp_path):
    done = run("train", "limit", task("whole"), "--out", tmp_path / "a", *SHORT, "--json", "--quiet")
    found = json.loads(done.out)
    assert done.err == "" and found["num_train"] == 180 and len(found["history"]) == 2 and found["compared"] is None


def test_the_second_network_is_another_one(run, task, tmp_path):
    """Weights that the user's function draws without a seed are drawn twice, the same in each run."""
    for name in ("a", "b"):
        assert run("train", "limit", task("whole"), "--out", tmp_path / name, *SHORT, "--quiet").code == 0
    first, second = (store.open(tmp_path / name).manifest["provenance"] for name in ("a", "b"))
    assert first == second and first["parameters"] != first["aux"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["{shared}"],
            1,
            "train limit: classifier and aux must share no parameter; got classifier.weight = aux.weight.",
        ),
        (
            ["{broken}"],
            1,
            "train: broken() in .* must return a Task; got ValueError",
        ),
        (["{alone}"], 2, "train: there must be samples to train on; got no --data, and alone() returns none."),
        (
            ["{whole}", "--q", "laplac"],
            2,
            "train: --q must be one of 'gaussian', 'laplace', 'ce'; got 'laplac'.",
        ),
        (["{whole}", "--beta", "-1"], 2, "train: beta must be finite and at least 0; got -1.0. Correct beta."),
        (["{whole}", "--q", "ce", "--lam", "2"], 2, "train: lam goes with gaussian or laplace; got --q ce."),
        (["{whole}", "--noise", "unifrom:0.4"], 1, "train limit: noise must be one of 'uniform', 'pair', "),
        (["{whole}", "--batch-size", "0"], 2, "train: --batch-size must be a whole number, at least 1; got '0'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refuses(run, task, tmp_path, words, code, says):
    names = {name: task(name) for name in ("shared", "broken", "alone", "whole")}
    done = run("train", "limit", *(word.format(**names) for word in words), "--out", tmp_path / "a")
    head, _, tail = says.partition(".*")
    assert done.code == code and done.err.startswith(head) and tail in done.err, done.err
    assert len(done.err.splitlines()) == 1 and not (tmp_path / "a").exists()
