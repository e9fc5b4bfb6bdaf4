import json
import re

import pytest

from infotorch.cli import dry_run
from infotorch.cli.dry_run import size
from infotorch.pipeline import scoring, trials
from tests.cli import test_score

SKETCHED = ["--form", "primal", "--dim", "8", "--lr", "0.1", "--steps", "20", "--space", "both"]
folder = test_score.folder


@pytest.fixture(autouse=True)
def time(monkeypatch):
    monkeypatch.setattr(trials, "WHOLE_KERNEL", 1e9)  # on a machine with much else to do, too


def test_the_plan_is_printed_in_80_columns_and_nothing_is_kept(run, folder):
    there = test_score.files(folder)
    done = run("score", "mine.py:whole", *SKETCHED, "--measure", "unique_information,el2n", "--out", "a", "--dry-run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "Nothing was scored or kept: this is what 24 samples would take."
    assert max(map(len, lines)) <= 80
    for word in (
        "unique_information, primal",
        "asked for",
        "keeping samples",
        "eigendecomposition",
        "fidelity",
        "in all",
    ):
        assert word in done.out
    facts = [line.split("  ")[0] for line in lines[-4:]]
    assert facts == ["time", "memory", "disk", ""]
    assert test_score.files(folder) == there


def test_json_is_the_plan_alone(run):
    done = run("score", "mine.py:whole", *SKETCHED, "--out", "a", "--dry-run", "--json", "--quiet")
    assert done.code == 0 and done.err == ""
    found = json.loads(done.out)
    (each,) = found["measures"]
    assert found["run"] == "a" and found["num_samples"] == 24 and each["form"] == "primal"
    assert found["seconds"] == pytest.approx(sum(each["seconds"].values()) + found["keeping_seconds"])
    assert found["disk"] == sum(each["disk"].values()) + found["keeping_bytes"] and found["fits_disk"] is True


def test_what_is_not_estimated_is_said(run):
    done = run("score", "mine.py:whole", "--measure", "label_quality", "--dry-run")
    assert done.code == 0, done.err
    assert re.search(r"in all +not estimated", done.out) and "disk" not in done.out
    assert done.out.endswith("time    not estimated\nmemory  not estimated\n")
    beside = run("score", "mine.py:whole", "--measure", "label_quality,loss", "--dry-run").out
    assert re.search(r"in all +over \d", beside) and re.search(r"\ntime +over 0:00\n", beside)


def test_a_finished_run_needs_nothing(run):
    words = ["score", "mine.py:whole", *SKETCHED, "--out", "a"]
    assert run(*words).code == 0
    assert (
        run(*words, "--dry-run").out == "The run a is there, whole: its scores would be read, and nothing computed.\n"
    )


@pytest.mark.parametrize("words", [["--memory-limit", "1MB"], ["--features", "f"], ["--out", "mine.py"]])
def test_what_score_refuses_is_refused_in_its_words(run, words):
    words = ["score", "mine.py:whole", *SKETCHED, *words]
    done, planned = run(*words), run(*words, "--dry-run")
    assert done.code == planned.code != 0
    assert planned.err == done.err


def test_a_disk_that_is_too_small_is_told(run, monkeypatch):
    monkeypatch.setattr(dry_run.ScorePlan, "fits_disk", False)
    done = run("score", "mine.py:whole", *SKETCHED, "--out", "a", "--dry-run")
    assert "not enough: the run would stop when the disk is full" in done.out


def test_nothing_of_the_run_is_begun(run, monkeypatch):
    monkeypatch.setattr(scoring, "score", None)
    assert run("score", "mine.py:whole", "--measure", "loss", "--dry-run").code == 0


@pytest.mark.parametrize(
    "num_bytes, text",
    [(None, "not estimated"), (0, "0 bytes"), (999, "999 bytes"), (1536, "1.50 KiB"), (3 << 30, "3.00 GiB")],
)
def test_sizes_are_in_binary_units(num_bytes, text):
    assert size(num_bytes) == text
