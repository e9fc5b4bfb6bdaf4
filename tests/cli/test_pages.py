"""Folders of infotorch sweep beta and embed, whose pages infotorch report draws again."""

import json

import pytest

from infotorch.cli.pages import page_of_folder, short

for needed in ("jinja2", "altair", "vl_convert", "scipy"):
    pytest.importorskip(needed, reason="the report extra is absent")

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def made(shift):
    torch.manual_seed(0)
    x = torch.randn(6, 3) + shift
    return Task(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()), (x, torch.arange(6) % 2)

def one(): return made(0.0)
def two(): return made(2.0)
"""
EMBED = ["embed", "mine.py:one", "mine.py:two", "--probe-layers", "0", "--out", "kept"]
SWEEP = ["sweep", "beta", "mine.py:one", "--betas", "1,0.1", "--steps", "2", "--workers", "1", "--out", "kept"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


@pytest.mark.parametrize(("words", "page"), [(EMBED, "distances.html"), (SWEEP, "transition.html")])
def test_a_page_that_was_lost_is_drawn_again(run, folder, words, page):
    done = run(*words)
    assert done.code == 0, done.err
    file = folder / "kept" / page
    before = file.read_bytes()
    file.unlink()
    done = run("report", "kept")
    assert done.code == 0 and f"kept/{page}" in done.out, done.err
    assert file.read_bytes() == before
    done = run("report", "kept", "--html", "other.html", "--json")
    assert json.loads(done.out)["html"] == "other.html" and (folder / "other.html").read_bytes() == before
    done = run("report", "kept", "kept")
    assert done.code == 1 and "which infotorch sweep or embed wrote. Call it alone" in done.err


@pytest.mark.parametrize(("first", "second"), [(EMBED, SWEEP), (SWEEP, EMBED)])
def test_a_folder_of_the_other_command_is_refused(run, folder, first, second):
    assert run(*first).code == 0
    before = {path: path.read_bytes() for path in (folder / "kept").rglob("*") if path.is_file()}
    done = run(*second)
    assert done.code == 1 and "out must be a new or empty folder, or one of" in done.err, done.err
    assert {path: path.read_bytes() for path in (folder / "kept").rglob("*") if path.is_file()} == before


def test_a_page_of_somebody_else_is_not_overwritten(run, folder):
    (folder / "kept").mkdir()
    (folder / "kept/distances.html").write_text("mine")
    done = run(*EMBED)
    assert done.code == 1 and "which holds 'distances.html' and no embedding. Choose another folder." in done.err
    assert (folder / "kept/distances.html").read_text() == "mine"


def test_distances_that_are_damaged_are_told(run, folder):
    assert run(*EMBED).code == 0
    (folder / "kept/distances.json").write_text('{"tasks": ["a"], "kind": "cosine", "distances": [[0, 1]]}')
    done = run("report", "kept")
    assert done.code == 1 and "must be what infotorch embed wrote" in done.err


def test_other_folders_have_no_page_of_this_kind(folder):
    assert page_of_folder(folder) is None and page_of_folder(folder / "none") is None


def test_names_are_short_where_they_differ():
    assert short(["a.py:one", "b.py:two"]) == ["one", "two"]
    assert short(["a.py:one", "b.py:one"]) == ["a.py:one", "b.py:one"]
