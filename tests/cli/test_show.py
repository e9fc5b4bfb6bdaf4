import json

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import pipeline
from infotorch.data import Samples
from infotorch.measures import UniqueInformation
from infotorch.task import Task

HOSTILE = ["[red]x[/red]", "\x1b[31mx", "a\nb", "y" * 10_000]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of 30 samples whose names are hostile."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, generator=rng)
    samples = Samples(
        x=x,
        y=(x[:, 0] > 0).long(),
        ids=tuple(HOSTILE + [f"s{i}" for i in range(4, 30)]),
        label_names=("cat", "[b]dog[/b]"),
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    out = tmp_path_factory.mktemp("runs") / "a"
    scores = pipeline.score(Task(model), samples, [UniqueInformation(lr=0.1, steps=20)], out=out)
    return out, scores


def test_the_highest_of_the_asked_score_come_first(run, kept):
    out, scores = kept
    done = run("show", out, "--top", "3", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [s["index"] for s in found["samples"]] == scores.index[scores.largest(3)].tolist()
    assert found["by"] == scores.main and found["columns"][scores.main]["unit"] == scores[scores.main].unit
    first = found["samples"][0]
    assert first[scores.main] == scores.values.max()


def test_all_samples_are_shown_in_80_columns_and_none_is_obeyed(run, kept):
    done = run("show", kept[0], "--top", "1000")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].startswith("30 of 30 samples, highest unique information weights first:")
    assert max(map(len, lines)) <= 80 and len(lines) <= 30 + 7
    for shown in ("[red]x[/red]", r"\x1b[31mx", r"a\nb", "y…y", "[b]dog[/b]"):
        assert shown in done.out
    assert "\x1b" not in done.out


def test_the_suspicious_end_comes_first(run, tmp_path):
    out = tmp_path / "run"
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, generator=rng)
    pipeline.score(Task(nn.Linear(3, 2).eval()), (x, (x[:, 0] > 0).long()), ["margin"], out=out)
    done = run("show", out, "--by", "margin", "--top", "3")
    assert done.out.splitlines()[0].startswith("3 of 30 samples, lowest margin first:")
    found = json.loads(run("show", out, "--by", "margin", "--top", "30", "--json").out)["samples"]
    assert (np.diff([sample["margin"] for sample in found]) >= 0).all()


def test_another_score_may_sort(run, kept):
    out, _ = kept
    found = json.loads(run("show", out, "--by", "own_residual", "--top", "30", "--json").out)["samples"]
    values = np.array([sample["own_residual"] for sample in found])
    assert (np.diff(values) <= 0).all() and len(values) == 30
    assert "own residual" in run("show", out, "--by", "own_residual").out.splitlines()[0]


def test_a_typo_in_a_column_names_the_nearest(run, kept):
    done = run("show", kept[0], "--by", "own_residaul")
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1
    assert done.err.startswith("show: --by must be one of ") and done.err.endswith(
        "got 'own_residaul'. Did you mean 'own_residual'?\n"
    )


def test_a_number_of_samples_is_at_least_one(run, kept):
    line = "show: --top must be a whole number, at least 1; got '0'. Run: infotorch show --help.\n"
    assert run("show", kept[0], "--top", "0") == (2, "", line)


def test_a_folder_that_is_no_run_fails_in_one_line(run, tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        done = run("show", folder)
        assert done.code == 1 and done.out == "" and done.err.count("\n") == 1 and str(folder) in done.err
        assert "unexpected" not in done.err
