import json

import pytest

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def probe(num_classes):
    torch.manual_seed(0)
    shared = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten())
    torch.manual_seed(num_classes)
    return Task(nn.Sequential(shared, nn.Linear(12, num_classes)).eval())

def made(num_classes, shift):
    rng = torch.Generator().manual_seed(1)
    return probe(num_classes), (torch.randn(6, 1, 3, 3, generator=rng) + shift, torch.arange(6) % num_classes)

def two(): return made(2, 0.0)
def three(): return made(3, 0.0)
def far(): return made(2, 2.0)
def alone(): return probe(2)
def dead():
    task, data = two()
    task.model[1].weight.data[:, 4:8] = 0
    return task, data
"""
WORDS = ["embed", "mine.py:two", "mine.py:three", "mine.py:far", "--probe-layers", "0.0"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def test_distances_are_shown_in_80_columns_with_what_is_joined(run):
    done = run(*WORDS)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "cosine distance of 3 tasks, near ones beside each other:" and max(map(len, lines)) <= 80
    assert {line.split()[1] for line in lines if line[:1].isdigit() and line[1] == " "} == {"two", "three", "far"}
    assert "joined at" in done.out
    assert lines[-1] == "filters  3, of layer 0.0"


def test_json_is_what_the_library_computes(run, folder):
    import torch

    from infotorch import task_distance, task_embedding
    from infotorch.cli.load import load

    got = json.loads(run(*WORDS, "--json", "--kind", "kl", "--balance").out)
    loaded = [load(f"mine.py:{name}") for name in ("two", "three", "far")]
    found = [task_embedding(one.task, one.data, probe_layers="0.0", balance=True) for one in loaded]
    truth = torch.tensor([[task_distance(a, b, kind="kl") for b in found] for a in found])
    torch.testing.assert_close(torch.tensor(got["distances"]), truth, rtol=1e-6, atol=1e-12)
    assert got["names"] == ["two", "three", "far"] and sorted(got["order"]) == [0, 1, 2] and len(got["merges"]) == 2
    assert got["embeddings"][1]["filters"] == ["0.0[0]", "0.0[1]", "0.0[2]"]


def test_a_folder_keeps_embeddings_distances_and_their_chart(run, folder):
    first = run(*WORDS, "--out", "kept")
    assert first.code == 0, first.err
    names = sorted(path.name for path in (folder / "kept").iterdir())
    assert len(names) == 6 and {"distances.html", "distances.json", ".lock"} < set(names)
    assert first.out.splitlines()[-2:] == ["kept     kept", "chart    kept/distances.html"]
    kept = {path.name: path.read_bytes() for path in (folder / "kept").glob("mine*")}
    again = run(*WORDS, "--out", "kept", "--json")
    assert json.loads(again.out)["read"] == WORDS[1:4]
    assert {path.name: path.read_bytes() for path in (folder / "kept").glob("mine*")} == kept
    (folder / "mine.py").write_text(TASK.replace("+ shift", "+ 2 * shift"))
    assert json.loads(run(*WORDS, "--out", "kept", "--json").out)["read"] == WORDS[1:3]


def test_one_task_and_many(run, folder):
    one = run("embed", "mine.py:two", "--probe-layers", "0")
    assert one.code == 0 and one.out.splitlines()[-1] == "filters  3, of layer 0", one
    text = "".join(f"\ndef t{i}(): return made(2, {i} / 10)" for i in range(12))
    (folder / "mine.py").write_text(TASK + text)
    many = run("embed", *(f"mine.py:t{i}" for i in range(12)), "--probe-layers", "0")
    assert many.code == 0 and "nearest" in many.out and max(map(len, many.out.splitlines())) <= 80


def test_mistakes_fail_in_one_line(run):
    for words, code, line in (
        (WORDS[:4], 2, "embed: --probe-layers must be given; got nothing. Run: infotorch embed --help."),
        ([*WORDS[:4], "--probe-layers", "0.9"], 2, "embed: every entry of --probe-layers must match a layer"),
        ([*WORDS, "mine.py:two"], 2, "every TASK must be named once; got mine.py:two again"),
        ([*WORDS, "mine.py:alone"], 2, "mine.py:alone must return (task, data); got a Task alone"),
        ([*WORDS, "--kind", "jsd"], 2, "jsd"),
        ([*WORDS, "mine.py:dead", "--kind", "kl"], 1, "got 0 at filter 0.0[1]. Pass floor="),
        ([*WORDS, "--batch-size", "0"], 2, "--batch-size must be a whole number, at least 1; got '0'"),
    ):
        done = run(*words, "--quiet")
        assert done.code == code and done.out == "" and done.err.count("\n") == 1 and line in done.err, done
    assert run(*WORDS, "mine.py:dead", "--kind", "kl", "--floor", "1e-6").code == 0
