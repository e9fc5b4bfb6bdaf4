"""infotorch info: the numbers, the run it keeps, and what it refuses."""

import json

import pytest
import torch

from infotorch import store

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def made(N=30):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(N, 1, 6, 6, generator=rng)
    return x, (x.sum((1, 2, 3)) > 0).long()

def whole():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    return Task(nn.Sequential(*layers).eval()), made()

def bare():
    return whole()[0]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def test_numbers_are_printed_with_both_rises(run):
    done = run("info", "mine.py:whole", "--beta", "0.1", "--betas", "0.1,1", "--quiet")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "nats in 86 weights" in lines[0] and "(estimate)" in lines[0]
    (rise,) = (line for line in lines if line.startswith("rise"))
    assert "predicted" in rise and "measured" in rise
    assert max(map(len, lines)) <= 80
    assert "nats a sample; not measured" in run("info", "mine.py:whole", "--draws", "0", "--quiet").out
    assert "Nothing was kept" in lines[-1]


def test_what_does_not_hold_and_what_a_bound_pays_are_said(run):
    done = run("info", "mine.py:whole", "--beta", "3", "--prior-var", "grid", "--quiet")
    lines = done.out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("warning"))
    assert lines[at].startswith("warning      the quadratic model does not hold here") and lines[at + 2][:13].isspace()
    (line,) = (line for line in lines if line.startswith("lagrangian"))
    found = json.loads(run("info", "mine.py:whole", "--beta", "3", "--prior-var", "grid", "--json").out)
    assert f" {found['lagrangian']:.5g}: loss {found['loss']:.4g}, rise {found['predicted_rise']:.4g}, beta" in line
    assert found["lagrangian"] == pytest.approx(found["loss"] + found["predicted_rise"] + 3 * found["nats"])
    assert found["quadratic_holds"] is False
    assert f"union cost   {found['union_cost']:.3g} nats more in a bound" in done.out and max(map(len, lines)) <= 80
    assert "union cost" not in run("info", "mine.py:whole", "--quiet").out


def test_a_run_is_kept_and_read(run, folder):
    line = ["info", "mine.py:whole", "--layers", "0,3", "--tau", "0.1", "--tangents", "rotation,shift", "--rows", "8",
            "--out", "runs/a", "--quiet"]  # fmt: skip
    done = run(*line)
    assert done.code == 0, done.err
    assert "index of rotation" in done.out.replace("\n", " ") or "rotation" in done.out
    assert "infotorch report runs/a --open" in done.out and max(map(len, done.out.splitlines())) <= 80
    kept = store.open("runs/a")
    assert [layer["name"] for layer in kept.notes()["activations"]["layers"]] == ["0", "3"]
    assert kept.notes()["activations"]["layers"][0]["rows"] == 8
    argv = kept.manifest["command"]["argv"]
    assert argv == "infotorch info mine.py:whole --layers 0,3 --tau 0.1 --tangents rotation,shift --rows 8 --out RUN"
    again = run(*line, "--json")
    assert again.code == 0 and json.loads(again.out)["nats"] == kept.notes()["weights"]["nats"]
    other = run(*line, "--beta", "3")
    assert other.code == 1 and "beta" in other.err
    assert run("report", "runs/a").code == 0
    assert "Information in the weights" in (folder / "runs/a.html").read_text()


def test_the_prior_may_be_another_state(run, folder):
    torch.save({"0.weight": torch.zeros(2, 1, 3, 3)}, "half.pt")
    done = run("info", "mine.py:whole", "--prior-mean", "half.pt", "--quiet")
    assert done.code == 1 and "got none called '0.bias'" in done.err
    done = run("info", "mine.py:whole", "--prior-mean", "no.pt", "--quiet")
    assert done.code == 1 and "--prior-mean must be a file; got no.pt, which is none" in done.err
    torch.save(torch.zeros(3), "bare.pt")
    done = run("info", "mine.py:whole", "--prior-mean", "bare.pt", "--quiet")
    assert done.code == 1 and "must be a file of a state dict; got Tensor in bare.pt" in done.err
    whole = {"0.weight": torch.zeros(2, 1, 3, 3), "0.bias": torch.zeros(2), "3.weight": torch.zeros(2, 32),
             "3.bias": torch.zeros(2)}  # fmt: skip
    torch.save(whole, "zeros.pt")
    lines = run("info", "mine.py:whole", "--prior-mean", "zeros.pt", "--quiet"), run("info", "mine.py:whole", "--quiet")
    assert lines[0].out == lines[1].out != ""


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--layers", "0"], 2, "--layers and --tau go together; got one alone"),
        (["--tangents", "shift"], 2, "--tangents goes with --layers"),
        (["--betas", "a,b"], 2, "--betas must be numbers with commas between; got 'a,b'"),
        (["--beta", "0"], 1, "beta must be > 0 and finite; got 0.0"),
        (["--prior-var", "-1"], 1, "prior_var must be > 0"),
        (["--prior-var", "evidense"], 1, "evidence"),
        (["--estimator", "kfca"], 1, "kfac"),
        (["--layers", "9", "--tau", "0.1"], 1, "layers must be one of '0', '1', '2', '3'; got '9'"),
        (["--layers", "0", "--tau", "-1"], 1, "tau must be finite and above 0"),
        (["--layers", "0", "--tau", "0.1", "--tangents", "rotate"], 1, "'rotation'"),
    ],
)
def test_bad_options_are_told(run, options, code, told):
    done = run("info", "mine.py:whole", *options, "--quiet")
    assert done.code == code and told in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("wrong", [["--layers", "9", "--tau", "1"], ["--layers", "0", "--tau", "nan"]])
def test_what_cannot_be_looked_at_is_refused_before_the_weighing(run, monkeypatch, wrong):
    def weighed(*args, **options):
        raise AssertionError("weighed first")

    monkeypatch.setattr("infotorch.pipeline.weighing.weights_information", weighed)
    assert run("info", "mine.py:whole", *wrong, "--quiet").code == 1


def test_samples_must_come_from_somewhere(run):
    done = run("info", "mine.py:bare", "--quiet")
    assert done.code == 2 and "info: there must be samples to score; got no --data" in done.err
