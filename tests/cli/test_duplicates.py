import json

import pytest
import torch
from torch import nn

import infotorch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of 60 samples, the last 30 the first ones again, some with another label; one has a hostile name."""
    folder = tmp_path_factory.mktemp("runs")
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 6, generator=rng), torch.randint(0, 3, (30,), generator=rng)
    y = torch.cat([y, y])
    y[-4:] = (y[-4:] + 1) % 3
    ids = ("\x1b[31m", "y" * 500, *(f"s{i}" for i in range(2, 60)))
    data = infotorch.Samples(x=torch.cat([x, x]), y=y, ids=ids, label_names=("[red]cat[/red]", "dog", "eel"))
    torch.manual_seed(0)
    task = infotorch.Task(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).eval())
    measure = infotorch.UniqueInformation(form="primal", dim=64, l2=0.1)
    infotorch.score(task, data, measure, out=folder / "run", features=folder / "features", fidelity=0)
    return folder / "run", "--features", folder / "features"


def test_pairs_are_shown_in_80_columns_and_none_is_obeyed(run, made):
    done = run("duplicates", *made, "--threshold", "0.9999")
    lines = done.out.splitlines()
    assert done.code == 0 and max(map(len, lines)) <= 80 and "\x1b" not in done.out
    assert lines[0] == "30 pairs of 60 samples have a cosine of at least 0.9999."
    assert r"\x1b[31m" in done.out and "[red]cat[/red]" in done.out
    assert "These are the first 20. With --out FILE.csv all are written." in lines
    assert lines[-2] == "groups  30; leaving out all but one of each drops 30"
    assert lines[-1] == "labels  differ in 4 pairs: one of the two may be wrong"


def test_json_and_the_file_have_every_pair(run, made, tmp_path):
    done = run("duplicates", *made, "--threshold", "0.9999", "--out", tmp_path / "a.jsonl", "--json")
    found = json.loads(done.out)
    assert found["num_pairs"] == 30 == len(found["pairs"]) and found["num_labels_differ"] == 4
    assert sorted(found["groups"]) == [[i, i + 30] for i in range(30)] and found["num_redundant"] == 30
    written = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert written == found["pairs"]
    assert run("duplicates", *made, "--out", tmp_path / "a.jsonl").out.splitlines()[-1].startswith("written")


def test_mistakes_fail_in_one_line(run, made, tmp_path):
    for words, code, line in (
        ((*made, "--threshold", "2"), 2, "threshold must be in (0, 1]; got 2.0"),
        ((*made, "--out", "a.txt"), 2, "the file's ending must be one of '.csv'"),
        ((*made, "--max-samples", "5"), 2, "samples must be at most 5"),
        (made[:1], 2, "duplicates: --features must be given; got nothing. Run: infotorch duplicates --help."),
        ((made[0], "--features", tmp_path), 1, "must be a folder of features; got no manifest.json in it"),
    ):
        done = run("duplicates", *words)
        assert done.code == code and done.out == "" and done.err.count("\n") == 1 and line in done.err, done
