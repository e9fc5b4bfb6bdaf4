"""infotorch fidelity: the table, the note it keeps, and runs that it refuses."""

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
    return x, (x[:, 0] > 0).long()

def whole():
    torch.manual_seed(0)
    return Task(nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2)).eval()), made(60, 1), made(9, 2)
"""
SCORE = ["score", "mine.py:whole", "--space", "both", "--lr", "0.1", "--steps", "20", "--quiet"]
SKETCHED = [*SCORE, "--form", "primal", "--dim", "16", "--fidelity", "20", "--out", "runs/a"]
QUICK = ["--samples", "20", "--seeds", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def test_a_finished_run_gets_its_curve(run, folder):
    assert run(*SKETCHED).code == 0
    done = run("fidelity", "runs/a", *QUICK)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "20 samples, exact and by sjlt; mean ± standard error of 2 sketches a size:"
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines[4:12]]
    assert [(row[0], row[1]) for row in rows] == [
        (k, name) for k in ("4", "8", "16", "32") for name in ("weights", "functions")
    ]
    assert lines[-4].startswith("directions  about ") and lines[-4].endswith(" on all samples of the run")
    assert lines[-3:] == [
        "sketch      16 numbers in the run",
        "run         runs/a",
        "report      infotorch report runs/a --open",
    ]
    assert done.err.splitlines()[-1].startswith("fidelity curve: 9/9 in ")
    note = store.open(folder / "runs/a").notes()["fidelity_curve"]
    mean = note["points"][0]["columns"]["unique_information_weights"]["spearman"]["mean"]
    assert rows[0][2] == f"{mean:.3f}"
    assert run("verify", "runs/a").code == 0
    assert run("report", "runs/a").code == 0
    assert "Sketched against exact scores" in (folder / "runs/a.html").read_text()


def test_json_is_the_note(run, folder):
    assert run(*SKETCHED).code == 0
    done = run("fidelity", "runs/a", "--dims", "8, 24", "--samples", "30", "--seeds", "1", "--json", "--quiet")
    found = json.loads(done.out)
    assert done.err == "" and found.pop("run") == "runs/a"
    assert found == store.open(folder / "runs/a").notes()["fidelity_curve"]
    assert [point["dim"] for point in found["points"]] == [8, 24] and found["num_samples"] == 30


def test_another_network_is_refused_by_name(run, folder):
    assert run(*SKETCHED).code == 0
    (folder / "mine.py").write_text(TASK.replace("manual_seed(0)", "manual_seed(1)"))
    done = run("fidelity", "runs/a", *QUICK)
    assert done.code == 1 and done.out == ""
    assert "must be a run of this task and data; got provenance.parameters" in done.err
    (folder / "mine.py").write_text(TASK.replace("nn.Tanh()", "nn.ReLU()"))
    assert "(1): Tanh()" in (told := run("fidelity", "runs/a", *QUICK).err) and "(1): ReLU()" in told


def test_an_exact_run_is_refused(run):
    assert run(*SCORE, "--out", "exact").code == 0
    done = run("fidelity", "exact", *QUICK)
    assert done.code == 1 and "must hold sketched scores; got exact ones. Score with --form primal" in done.err


def test_a_run_of_something_else_is_refused(run, folder, finished_run):
    finished_run(folder / "other")
    assert run("fidelity", "other") == (
        2,
        "",
        "fidelity: RUN must be made by infotorch score; got a call from Python. Call "
        "infotorch.pipeline.fidelity_curve(measure, task, samples).\n",
    )
    assert "must be a run; got no such folder" in run("fidelity", "nowhere").err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dims", "a,8"], "--dims must be whole numbers, at least 1, with commas between; got 'a,8'"),
        (["--samples", "19"], "--samples must be a whole number, at least 20; got '19'"),
        (["--seeds", "0"], "--seeds must be a whole number, at least 1; got '0'"),
    ],
)
def test_bad_usage_has_exit_code_2(run, words, line):
    done = run("fidelity", "runs/a", *words)
    assert done.code == 2 and line in done.err and done.err.count("\n") == 1
