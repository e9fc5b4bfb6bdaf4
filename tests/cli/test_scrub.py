"""infotorch scrub: the table, the file it writes, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import edit

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def made(N, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 3, generator=rng)
    return x, (x[:, 0] > 0).long()

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()

def whole():
    return Task(net()), made(30, 1), made(9, 2)

def bare():
    return Task(net())

def squared():
    x, y = made(12, 1)
    return Task(net(), loss="mse"), (x, torch.stack([y, 1 - y], 1).float())
"""
SCRUB = ["scrub", "mine.py:whole", "--noise", "0.01", "--damping", "0.1", "--method", "newton"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def expected(forget, **options):
    names = {}
    exec(TASK, names)
    task, (x, y), _ = names["whole"]()
    gone = torch.zeros(30, dtype=torch.bool)
    gone[list(forget)] = True
    retain, forget = (x[~gone], y[~gone]), (x[gone], y[gone])
    return edit.scrub(task, retain, forget=forget, **{"noise": 0.01, "damping": 0.1, "method": "newton"} | options)


def test_table_of_before_and_after_in_80_columns(run, folder):
    done = run(*SCRUB, "--forget", "0,4,7", "--out", "new.pt", "--relearn")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "3 of 30 samples forgotten, newton, full curvature:"
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["before", "after"]
    assert [line[:25].strip() for line in lines[4:12]] == [
        "wrong, forgotten", "wrong, retained", "wrong, test", "loss, forgotten", "loss, retained", "loss, test",
        "membership attack, AUC", "steps to relearn",
    ]  # fmt: skip
    assert lines[13].startswith("The table is measured, and all that holds here")  # before any bound
    assert [line[:10].strip() for line in lines[-4:]] == ["bound", "left out", "edited", "weights"]
    assert lines[-4][10:] == "none that holds; 0 nats by the formula" and "26 weights" in lines[-2]
    assert lines[-1].split() == ["weights", "new.pt"]


def test_the_file_is_the_state_dict_of_the_function(run, folder):
    before = torch.get_rng_state()
    found = expected([0, 4, 7], seed=3)
    assert run(*SCRUB, "--forget", "0,4,7", "--seed", "3", "--out", "new.pt").code == 0
    state = torch.load("new.pt", weights_only=True)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model.load_state_dict(state)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(flat, found.weights.float())
    assert [p.name for p in folder.iterdir() if "tmp" in p.name] == []
    torch.set_rng_state(before)


def test_frozen_weights_are_counted(run, folder):
    (folder / "mine.py").write_text(TASK + "\ndef head():\n    return Task(net(), params=['2.*']), made(30, 1)\n")
    words = ["scrub", "mine.py:head", "--noise", "0.01", "--damping", "0.1", "--forget", "0,4,7"]
    done = run(*words)
    lines = done.out.splitlines()
    assert lines[-3:-1] == ["edited    10 weights", "frozen    16 weights, as they were: no bound is of them"]
    assert "Frozen weights, and the statistics of normalization layers, may tell" in " ".join(lines)
    found = json.loads(run(*words, "--json").out)
    assert found["num_weights"] == 10 and found["num_frozen"] == 16


def test_a_bound_of_a_quadratic_loss_is_said_to_hold(run, folder):
    more = """
def linear():
    x, y = made(12, 1)
    return Task(nn.Linear(3, 1).double().eval(), loss="mse"), (x.double(), y[:, None].double())
"""
    (folder / "mine.py").write_text(TASK + more)
    done = run("scrub", "mine.py:linear", "--noise", "0.01", "--method", "newton", "--forget", "3")
    assert "The bound is of a quadratic loss, and at these weights this loss is nearly one." in " ".join(
        done.out.splitlines()
    )
    assert "bound     0 nats that the weights may still tell\n" in done.out
    done = run("scrub", "mine.py:linear", "--noise", "0", "--method", "newton", "--forget", "3")
    assert "without noise nothing hides it" in " ".join(done.out.splitlines())


def test_json_has_all_numbers(run):
    done = run(*SCRUB, "--forget", "1,2", "--json")
    found = json.loads(done.out)
    assert found["num_forgotten"] == 2 and found["num_retained"] == 28 and found["out"] is None
    assert found["bound"] == 0 and found["residual"] == pytest.approx(expected([1, 2]).residual, rel=1e-5)
    assert found["quadratic_error"] == found["residual"] > 1 and not found["holds"] and found["kind"] == "diagnostic"
    assert set(found["before"]) == set(found["after"]) == {f.name for f in edit.Readouts.__dataclass_fields__.values()}
    assert found["before"]["relearn_steps"] is None


def test_retain_and_files_name_the_same_samples(run, folder):
    (folder / "ids.txt").write_text("0\n4\n\n7\n")
    np.save("places.npy", np.array([0, 4, 7]))
    others = ",".join(str(n) for n in range(30) if n not in (0, 4, 7))
    wanted = json.loads(run(*SCRUB, "--forget", "0, 4,7", "--json").out)
    for option, value in (("--forget", "ids.txt"), ("--forget", "places.npy"), ("--retain", others)):
        assert json.loads(run(*SCRUB, option, value, "--json").out) == wanted


def test_ntk_from_a_file_of_initial_weights(run, folder):
    names = {}
    exec(TASK, names)
    torch.save(names["net"]().state_dict(), "start.pt")
    ntk = ["scrub", "mine.py:squared", "--method", "ntk", "--noise", "0", "--ridge", "0.1", "--forget", "3", "--json"]
    done = run(*ntk, "--initial", "start.pt")
    assert done.code == 0, done.err
    assert json.loads(done.out)["bound"] is None  # infinite: there is no noise
    done = run(*ntk)
    assert done.code == 2 and '"ntk" needs initial' in done.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "scrub: one of --forget and --retain must be given; got neither."),
        (["--forget", "1", "--retain", "2"], 2, "scrub: one of --forget and --retain must be given; got both."),
        (["--forget", "99"], 2, "scrub: --forget must name samples of the data; got '99'. Did you mean '9'?"),
        (["--forget", ","], 1, "scrub: forget must hold a sample; got none. There is nothing to forget."),
        (["--retain", ","], 1, "scrub: retain must hold a sample; got none. To forget all there is, train anew."),
        (
            ["--forget", "gone.txt"],
            2,
            "scrub: --forget must name samples of the data; got 'gone.txt'. There is no such file",
        ),
        (["--forget", "1", "--noise", "-1"], 2, "scrub: noise must be finite and at least 0; got -1.0."),
        (["--forget", "1", "--damping", "0"], 1, "scrub: the curvature of the retained loss must be positive definite"),
        (["--forget", "1", "--out", "no/such/new.pt"], 2, "scrub: --out must be a file in a folder that exists; got"),
        (["--forget", "far.npy"], 2, "scrub: --forget must be places, 0 to 29; got int64 [1] in far.npy."),
        (["--forget", "1", "--initial", "none.pt"], 1, "scrub: none.pt must be there; got no such file."),
    ],
)
def test_what_is_refused(run, words, code, text):
    np.save("far.npy", np.array([30]))
    done = run(*SCRUB, *words)
    assert done.code == code and text in done.err, done.err
    assert done.err.count("\n") == 1


def test_a_task_without_data_needs_them(run):
    done = run("scrub", "mine.py:bare", "--noise", "0.1", "--forget", "1")
    assert done.code == 2 and "got no --data" in done.err
