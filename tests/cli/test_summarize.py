"""``infotorch summarize``: what is kept and written, what is compared, and what is refused."""

import csv
import json
import re

import numpy as np
import pytest

from infotorch import pipeline
from infotorch.cli.app import COMMANDS
from infotorch.cli.load import load
from infotorch.data import samples_of
from infotorch.measures import UniqueInformation

TASK = """
import torch
from torch import nn
from infotorch import Samples
from infotorch.task import Task

def made(N, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 3, generator=rng)
    return x, (x[:, 0] > 0.5).long()

def alone():
    return Task(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval())

def seeded():
    torch.manual_seed(0)
    return alone()

def whole():
    return seeded(), made(24, 1), made(40, 2)

def named():
    x, y = made(24, 1)
    return seeded(), Samples(x=x, y=y, ids=[f"s{i}" for i in range(24)], label_names=["low", "high"])

def fresh():
    return alone(), made(24, 1), made(40, 2)

def bare_tests():
    return alone(), made(24, 1), torch.zeros(4, 3)

def targets():
    x, y = made(24, 1)
    return alone(), (x, y), (x, torch.rand(24, 2))

def many():
    x, _ = made(60, 1)
    return Task(nn.Linear(3, 30).eval()), (x, torch.arange(60) % 30)
"""
DESCENT = ["--lr", "0.1", "--steps", "20", "--quiet"]
COMPARE = ["--compare", "--repeats", "2", "--epochs", "3", "--quiet"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def python(spec="mine.py:whole", **options):
    mine = load(spec)
    measure = UniqueInformation(lr=0.1, steps=20)
    return pipeline.summarize(mine.task, samples_of(mine.data), measure=measure, **options)


def test_samples_are_kept_written_and_counted_by_class(run, folder):
    done = run("summarize", "mine.py:named", "--keep", "0.5", "--out", "kept.csv", *DESCENT)
    assert done.code == 0 and done.err == "", done.err
    lines = [line.rstrip() for line in done.out.splitlines()]
    assert max(map(len, lines)) <= 80
    found = python("mine.py:named", keep=0.5)
    before, after = found.counts_before, found.counts_after
    assert lines[0] == "12 of 24 samples kept by unique information weights [nats]."
    assert [line.split() for line in lines[2:6:2]] == [
        ["class", "samples", "kept"],
        ["low", f"{before[0]}", f"{after[0]}"],
    ]
    assert lines[5].split() == ["high", f"{before[1]}", f"{after[1]}"] and lines[-1] == "kept  kept.csv"
    with open("kept.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "id", "label", "label_name", "unique_information_weights"]
    assert [int(row["index"]) for row in rows] == found.kept.tolist()
    assert [row["id"] for row in rows] == list(found.kept_ids) == [f"s{i}" for i in found.kept]
    assert [row["label_name"] for row in rows] == [["low", "high"][int(row["label"])] for row in rows]
    assert [float(row["unique_information_weights"]) for row in rows] == found.values[found.kept].tolist()


def test_json_is_the_result_alone_and_equals_the_call_from_python(run):
    words = ["--keep", "7", "--rounds", "3", "--balanced", "--json", *DESCENT]
    done = run("summarize", "mine.py:whole", *words)
    assert done.code == 0 and done.err == "", done.err
    found, wanted = json.loads(done.out), python(keep=7, rounds=3, balanced=True)
    assert found["kept"] == wanted.kept.tolist() and found["removed"] == wanted.removed.tolist()
    assert found["id"] == list(wanted.kept_ids)
    assert found["counts_after"] == {str(label): count for label, count in wanted.counts_after.items()}
    assert found["counts_before"] == {str(label): count for label, count in wanted.counts_before.items()}
    assert (found["rounds"], found["balanced"], found["by"]) == (3, True, "unique_information_weights")
    assert found["comparison"] is None and found["out"] is None


def test_the_measure_and_the_column_are_chosen(run):
    mine = load("mine.py:whole")
    for words, options in (
        (["--measure", "margin"], {"measure": "margin"}),
        (["--measure", "label_quality", "--by", "normalized_margin"], None),
        (["--by", "own_residual", "--lr", "0.1", "--steps", "20"],
         {"measure": UniqueInformation(lr=0.1, steps=20), "by": "own_residual"}),
    ):  # fmt: skip
        if options is None:
            pytest.importorskip("cleanlab", reason="no cleanlab: it comes with the extra of this name")
            options = {"measure": "label_quality", "by": "normalized_margin"}
        done = run("summarize", "mine.py:whole", "--keep", "5", "--json", "--quiet", *words)
        assert done.code == 0, done.err
        assert json.loads(done.out)["kept"] == pipeline.summarize(mine.task, mine.data, keep=5, **options).kept.tolist()


def test_functions_are_compared_on_validation_samples_or_else_on_test_samples(run):
    mine = load("mine.py:whole")
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    np.savez("validation.npz", x=x, y=np.zeros(9, dtype=int))
    for words, tests in ((["--validation-data", "validation.npz"], x), ([], mine.test_data[0])):
        done = run("summarize", "mine.py:whole", "--keep", "5", "--space", "functions", *words, "--json", *DESCENT)
        assert done.code == 0, done.err
        measure = UniqueInformation(space="functions", test_data=tests, lr=0.1, steps=20)
        wanted = pipeline.summarize(mine.task, mine.data, keep=5, measure=measure)
        assert json.loads(done.out)["kept"] == wanted.kept.tolist()


def test_a_finished_run_is_chosen_from_without_its_task(run, finished_run):
    finished_run("runs/a")  # 0.5, 2, 0.25, 1, 0.125
    done = run("summarize", "runs/a", "--keep", "0.6", "--out", "kept.txt")
    assert done.code == 0 and done.err == "", done.err
    assert done.out.splitlines()[0] == "3 of 5 samples kept by information [nats]."
    assert open("kept.txt").read() == "s0\ns1\ns3\n"
    found = json.loads(run("summarize", "runs/a", "--keep", "2", "--balanced", "--json").out)
    assert found["id"] == ["s0", "s1"] and found["counts_after"] == {"0": 1, "1": 1}
    done = run("summarize", "runs/a", "--keep", "5")
    assert done.code == 2 and "--keep must leave at least 1 of 5 samples" in done.err


def test_a_run_of_ones_own_gives_what_the_task_gives(run):
    assert run("score", "mine.py:named", *DESCENT, "--out", "a").code == 0
    from_run = json.loads(run("summarize", "a", "--keep", "9", "--balanced", "--json", "--out", "kept.parquet").out)
    assert from_run["kept"] == python("mine.py:named", keep=9, balanced=True).kept.tolist()
    assert run("summarize", "mine.py:named", "--keep", "9", "--balanced", "--out", "b.parquet", *DESCENT).code == 0
    assert open("kept.parquet", "rb").read() == open("b.parquet", "rb").read()


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--rounds", "2"], "--rounds"),
        (["--data", "x.npz", "--l2", "0.1"], "--data, --l2"),
        (["--compare"], "--compare"),
        (["--measure", "loss"], "--measure"),
    ],
    ids=str,
)
def test_what_needs_the_task_is_refused_of_a_run(run, finished_run, words, flags):
    finished_run("runs/a")
    line = (
        f"summarize: {flags} needs the task, to score or to train; got the run 'runs/a'. Give the task, or leave it "
        "out: from a run's scores is chosen once.\n"
    )
    assert run("summarize", "runs/a", "--keep", "2", *words) == (2, "", line)


def test_networks_are_trained_on_kept_random_and_all_samples(run):
    done = run("summarize", "mine.py:fresh", "--keep", "8", *DESCENT, *COMPARE)
    assert done.code == 0 and done.err == "", done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1] for line in lines if re.search(r"\d\.\d{3} ± \d\.\d{3}$", line.rstrip())}
    assert rows == {"kept": "8", "random": "8", "all": "24"}
    assert "The kept samples " in done.out and "repeats" in " ".join(done.out.split())
    assert "same weights" not in done.out and "validation" not in done.out


def test_the_comparison_is_that_from_python_and_tells_of_equal_starts_and_of_seen_inputs(run):
    words = ["--keep", "8", "--space", "functions", *DESCENT, *COMPARE, "--train-lr", "0.05", "--train-batch", "10"]
    found = json.loads(run("summarize", "mine.py:whole", *words, "--optimizer", "sgd", "--json").out)["comparison"]
    mine = load("mine.py:whole")
    measure = UniqueInformation(space="functions", test_data=mine.test_data[0], lr=0.1, steps=20)
    summary = pipeline.summarize(mine.task, mine.data, keep=8, measure=measure)

    def accuracy(samples, seed):
        return pipeline.retrain_accuracy(
            lambda: load("mine.py:whole").task, samples, mine.test_data, epochs=3, lr=0.05, batch_size=10,
            optimizer="sgd", seed=seed,
        )  # fmt: skip

    wanted = pipeline.compare_summary(summary, mine.data, accuracy, repeats=2)
    assert found["each"] == {"kept": list(wanted.kept), "random": list(wanted.random), "all": list(wanted.all)}
    assert found["verdict"] == wanted.verdict and found["finding"] == str(wanted)
    assert found["kept less random"]["value"] == wanted.estimates()["kept less random"].value
    assert [note.split(",")[0] for note in found["notes"]] == [
        "The measure saw the test samples' inputs", "Every network began at the same weights",
    ]  # fmt: skip
    np.savez("validation.npz", x=np.zeros((9, 3), dtype=np.float32), y=np.zeros(9, dtype=int))
    done = run("summarize", "mine.py:fresh", *words, "--validation-data", "validation.npz", "--json")
    assert json.loads(done.out)["comparison"]["notes"] == []


def test_many_classes_are_cut_to_those_that_lost_most(run):
    done = run("summarize", "mine.py:many", "--keep", "30", "--measure", "loss", "--quiet")
    assert "The 20 of 30 classes that lost most; --json has all." in done.out
    rows = [line.split() for line in done.out.splitlines() if re.fullmatch(r"\d+ +2 +\d *", line)]
    assert len(rows) == 20 and [int(kept) for *_, kept in rows] == sorted(int(kept) for *_, kept in rows)


USAGE = {
    "--keep 0": "summarize: --keep must leave at least 1 of 24 samples and drop at least 1; got 0, which leaves 0. "
    "Choose a number from 1 to 23, or the share of it.",
    "--keep 1.5": "summarize: --keep must be a share between 0 and 1 or a whole number of samples; got 1.5. Write 0.3 "
    "for three tenths, 300 for so many.",
    "--keep nan": "summarize: --keep must be a share between 0 and 1 or a whole number of samples; got nan. Write 0.3 "
    "for three tenths, 300 for so many.",
    "--keep 30": "summarize: --keep must leave at least 1 of 24 samples and drop at least 1; got 30, which leaves 30. "
    "Choose a number from 1 to 23, or the share of it.",
    "--keep some": "summarize: --keep must be a share such as 0.3 or a number of samples such as 300; got 'some'. "
    "Run: infotorch summarize --help.",
    "": "summarize: --keep must be given; got nothing. Run: infotorch summarize --help.",
    "--keep 20 --rounds 5": "summarize: --rounds must be a whole number from 1 to 4, the samples to drop, so that each "
    "round drops one; got 5. Lower rounds.",
    "--keep 3 --out kept.jpeg": "summarize: the file's ending must be one of '.csv', '.parquet', '.jsonl', '.json', "
    "'.npy', '.txt'; got '.jpeg'. Choose one of these.",
    "--keep 3 --out none/kept.csv": "summarize: --out must be a file in a folder that exists; got 'none/kept.csv'. "
    "Make the folder first.",
    "--keep 3 --measure los": "summarize: --measure must be one of 'unique_information', 'loss', 'gradient_norm', "
    "'el2n', 'margin', 'label_quality'; got 'los'. Did you mean 'loss'?",
    "--keep 3 --measure loss,el2n": "summarize: --measure must be one; got loss, el2n. Choose the one to keep by.",
    "--keep 3 --fallback func": "summarize: --fallback belongs to gradient_norm; got --measure unique_information. "
    "Leave the option out, or add the measure.",
    "--keep 3 --epochs 3 --optimizer sgd": "summarize: --epochs, --optimizer must go with --compare; got it alone. Add "
    "--compare, or leave it out.",
    "--keep 3 --compare --train-lr 0": "summarize: --train-lr must be a finite number above 0; got 0.0. Correct lr.",
    "--keep 3 --test-data x.npz": "summarize: --test-data needs --compare or a measure in function space; got neither. "
    "Leave it out, or add --space functions.",
    "--keep 3 --compare --validation-data x.npz": "summarize: --validation-data needs a measure in function space; got "
    "neither. Leave it out, or add --space functions.",
    "--keep 3 --memory-limit 4XB": "summarize: --memory-limit must be a size; got '4XB'. Write it as 4GB or 512MiB.",
}


@pytest.mark.parametrize("words", USAGE)
def test_bad_usage_has_exit_code_2_and_one_line(run, words):
    assert run("summarize", "mine.py:whole", *words.split()) == (2, "", USAGE[words] + "\n")


def test_tests_must_have_labels_to_compare(run):
    done = run("summarize", "mine.py:alone", "--data", "mine.npz", "--keep", "3", *COMPARE)
    assert done.code != 0
    np.savez("mine.npz", x=np.eye(6, 3, dtype=np.float32), y=np.arange(6) % 2)
    done = run("summarize", "mine.py:alone", "--data", "mine.npz", "--keep", "3", *COMPARE)
    assert done.code == 2 and "--compare needs samples with labels to test on; got none. Give --test-data" in done.err
    assert run("summarize", "mine.py:bare_tests", "--keep", "3", *COMPARE).code == 1
    done = run("summarize", "mine.py:targets", "--keep", "3", *COMPARE)
    assert done.code == 2 and "--compare counts right classes, of test labels that are whole numbers; got" in done.err


def test_data_must_come_from_somewhere(run):
    done = run("summarize", "mine.py:alone", "--keep", "3")
    assert done.code == 2 and done.err.startswith("summarize: there must be samples to score; got no --data")


def test_help_fits_80_columns_and_has_the_measures_fields(run):
    done = run("summarize", "--help")
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= 80
    for flag in ("--keep", "--rounds", "--balanced", "--by", "--out", "--compare", "--repeats", "--epochs", "--l2"):
        assert re.search(rf"^│ [* ] *{flag} |^│ {flag} ", done.out, re.M), flag
    assert "summarize" in COMMANDS


def test_nothing_is_written_where_the_measure_refuses(run, folder):
    done = run("summarize", "mine.py:whole", "--keep", "3", "--form", "dual", "--memory-limit", "1MiB", *DESCENT,
               "--out", "kept.csv")  # fmt: skip
    assert done.code == 1 and "raise --memory-limit" in done.err and not (folder / "kept.csv").exists()


def test_a_mistyped_run_is_told(run):
    done = run("summarize", "runs/nothere", "--keep", "3")
    assert done.code == 2 and "or the folder of a run; got 'runs/nothere', which is no folder" in done.err
