import json

import numpy as np
import pytest
import torch

from infotorch import score_checkpoints, store
from infotorch.cli.load import load
from tests.cli.test_score import TASK


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's file and three checkpoints in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "ckpt").mkdir()
    model = load("mine.py:alone").task.model
    for step in (0, 5, 10):
        torch.save(
            {name: (1 + step / 5) * value for name, value in model.state_dict().items()},
            tmp_path / f"ckpt/step-{step:08d}.pt",
        )
    return tmp_path


def test_samples_whose_score_changed_most_are_shown(run, folder):
    done = run("score", "mine.py:whole", "--measure", "loss,el2n", "--checkpoints", "ckpt", "--out", "runs")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:2] == [
        "24 samples scored at 3 checkpoints; the 10 whose loss changed",
        "most from step-00000000 to step-00000010:",
    ]
    mine = load("mine.py:whole")
    change = score_checkpoints(mine.task, mine.data, "loss", folder / "ckpt").change()
    rows = [line.split() for line in lines[3:] if line[:1].isdigit()]
    assert [int(row[0]) for row in rows] == np.argsort(-np.abs(change), kind="stable")[:10].tolist()
    assert all(float(row[-1]) == pytest.approx(change[int(row[0])], rel=5e-3) for row in rows)
    assert max(map(len, lines)) <= 80 and lines[-1] == "report  infotorch report runs/trajectory --open"
    assert sum(line.startswith("ranks") for line in lines) == 2
    assert store.open(folder / "runs/trajectory").finished
    assert "--checkpoints ckpt" in store.open(folder / "runs/step-00000005").manifest["command"]["argv"]
    before = {p: p.read_bytes() for p in (folder / "runs").rglob("*") if p.is_file()}
    assert run("score", "mine.py:whole", "--measure", "loss,el2n", "--checkpoints", "ckpt", "--out", "runs").code == 0
    assert before == {p: p.read_bytes() for p in (folder / "runs").rglob("*") if p.is_file()}


def test_json_has_the_scores_of_every_checkpoint(run, folder):
    done = run("score", "mine.py:whole", "--measure", "margin", "--checkpoints", "ckpt/*.pt", "--json", "--quiet")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    mine = load("mine.py:whole")
    want = score_checkpoints(mine.task, mine.data, "margin", folder / "ckpt")
    assert found["checkpoints"] == list(want.names) and found["run"] is None and len(found["id"]) == 24
    assert found["columns"]["margin"]["values"] == want["margin"].tolist()
    assert found["columns"]["margin"]["rank_correlation"] == want.rank_correlation()
    assert "nothing" in run("score", "mine.py:whole", "--measure", "margin", "--checkpoints", "ckpt").out


def test_what_is_wrong_with_checkpoints_is_one_line(run, folder):
    for words, code, says in (
        (["--checkpoint-key", "model"], 2, "score: --checkpoint-key goes with --checkpoints; got it alone."),
        (["--checkpoints", "none"], 1, "score_checkpoints: none must hold checkpoints; got no files that match."),
        (["--checkpoints", "ckpt", "--checkpoint-key", "model"], 1, "must have the key 'model'; got a dict of"),
    ):
        done = run("score", "mine.py:whole", "--measure", "loss", *words)
        assert (done.code, done.out) == (code, "") and says in done.err and done.err.count("\n") == 1


def test_self_scores_are_asked_for_by_a_flag(run):
    done = run("score", "mine.py:whole", "--l2", "0.1", "--also", "self_influence,trak_self", "--json", "--quiet")
    assert done.code == 0, done.err
    assert {"self_influence", "trak_self"} < set(json.loads(done.out)["columns"])
    one = run("score", "mine.py:whole", "--l2", "0.1", "--also", "trak_self", "--json", "--quiet")
    assert "self_influence" not in json.loads(one.out)["columns"]
    wrong = run("score", "mine.py:whole", "--also", "trak_self")
    assert wrong.code == 2 and "also needs l2 > 0, for a Gauss-Newton matrix" in wrong.err
