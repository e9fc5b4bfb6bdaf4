"""``infotorch complexity``: a table in 80 columns, JSON, kept and resumed, and refusals of one line."""

import json

import pytest
import torch

TASK = """
import torch
from torch import nn
from infotorch import Task

torch.manual_seed(0)
x, y = torch.randn(30, 4, dtype=torch.float64), torch.randint(3, (30,))

def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()

def whole():
    return Task(network(0)), (x, y)

def tested():
    return Task(network(0)), (x, y), (x[:7], y[:7])

def alone():
    return Task(network(0))

def save():
    for step in (0, 120):
        torch.save(network(step).state_dict(), f"ckpt/step-{step:08d}.pt")
"""
WORDS = ("complexity", "mine.py:whole", "--checkpoints", "ckpt", "--ridge", "0.1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "ckpt").mkdir()
    made = {}
    exec(TASK, made)
    made["save"]()
    return tmp_path


def test_it_prints_a_table_in_80_columns_and_keeps_it(run, folder):
    done = run(*WORDS, "--out", "kept")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "30 samples at 2 checkpoints (diagnostic):" and max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if "labels" in line]
    assert [row[:2] for row in rows] == [["0", "labels"], ["120", "labels"]]
    assert lines[-2:] == ["table     kept/complexity.csv", "chart     kept/complexity.html"]
    assert (folder / "kept/complexity.csv").is_file() and (folder / "kept/complexity.html").is_file()
    before = (folder / "kept/complexity.json").read_bytes()
    again = run(*WORDS, "--out", "kept")
    assert again.out == done.out and (folder / "kept/complexity.json").read_bytes() == before
    assert "Add --out FOLDER" in run(*WORDS).out


def test_json_is_the_rows_alone(run):
    done = run(*WORDS, "--json", "--quiet", "--f0", "zero", "--tau", "2", "--samples", "20")
    found = json.loads(done.out)
    assert done.err == "" and found["num_samples"] == 20 and found["out"] is None
    assert [(row["step"], row["target"], row["tau"], row["ridge"]) for row in found["rows"]] == [
        (step, "labels", 2.0, 0.1) for step in (0, 120)
    ]
    assert found["rows"][0]["residual_norm"] == pytest.approx(20**0.5)


def test_held_out_samples_come_first(run):
    words = ("complexity", "mine.py:tested", "--checkpoints", "ckpt", "--ridge-rel", "0.1", "--json")
    assert json.loads(run(*words).out)["num_samples"] == 7


def test_an_interrupt_says_how_to_go_on(run, monkeypatch):
    def stopped(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("infotorch.pipeline.complexity.supervision_complexity", stopped)
    done = run(*WORDS, "--out", "kept")
    assert done.code == 130 and "Run the same command again: it goes on from there." in done.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (WORDS[:4], "exactly one of --ridge and --ridge-rel must be given; got none"),
        ((*WORDS, "--ridge-rel", "1"), "exactly one of --ridge and --ridge-rel must be given; got both"),
        ((*WORDS, "--f0", "teacher"), "--f0 must be one of 'student', 'zero'; got 'teacher'"),
        ((*WORDS, "--kernel", "mean"), "--kernel must be one of 'full', 'avg'; got 'mean'"),
        ((*WORDS[:2], "--ridge", "1"), "--checkpoints must be given; got nothing"),
        ((*WORDS[:3], "nowhere", "--ridge", "1"), "nowhere must be a folder with checkpoints"),
        ((*WORDS, "--samples", "0"), "--samples must be a whole number, at least 1; got '0'"),
        (("complexity", "mine.py:alone", *WORDS[2:]), "TASK must return (task, data); got a task alone"),
    ],
)
def test_bad_usage_has_exit_code_2(run, words, line):
    done = run(*words)
    assert done.code == 2 and line in done.err and done.err.count("\n") == 1


def test_a_bad_checkpoint_has_exit_code_1(run, folder):
    torch.save({"weight": torch.zeros(2)}, folder / "ckpt/step-00000007.pt")
    done = run(*WORDS)
    assert done.code == 1 and done.out == "" and "step-00000007.pt must be the network of the checkpoint" in done.err
