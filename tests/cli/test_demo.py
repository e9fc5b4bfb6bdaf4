import json
import pathlib

import pytest

from infotorch import demo

FOUND = demo.DemoResult(
    auroc=0.9712,
    auroc_information=0.95,
    precision=0.9,
    num_flipped=40,
    accuracy=0.91,
    pearson=0.987,
    spearman=0.976,
    suspicious=[
        {
            "id": f"digit-{i:04d}",
            "given": i,
            "suggested": (i + i % 2) % 10,
            "true": (i + i % 2) % 10,
            "flipped": i % 2 == 1,
            "own_residual": 1.25 - i / 10,
            "unique_information_functions": 3.2e-5,
        }
        for i in range(10)
    ],
    run=pathlib.Path("here/run"),
    report=pathlib.Path("here/report.html"),
)


@pytest.fixture
def asked(monkeypatch):
    """What the demo was asked for; it finds ``FOUND`` at once."""
    calls = []

    def run(out, *, seed, progress):
        calls.append((out, seed))
        progress("retraining", 300, 300)
        return FOUND

    monkeypatch.setattr(demo, "run", run)
    return calls


def test_the_ten_most_suspicious_the_figures_and_both_paths_are_printed(run, asked):
    done = run("demo", "--out", "here", "--seed", "3")
    assert asked == [(pathlib.Path("here"), 3)]
    assert done.code == 0 and done.err == "retraining: 300/300 in 0:00\n"
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith("digit-")]
    assert rows[1] == ["digit-0001", "1", "→", "2", "2", "flipped", "1.15", "3.20e-05"]
    assert rows[2] == ["digit-0002", "2", "2", "not", "flipped", "1.05", "3.20e-05"] and len(rows) == 10
    assert lines[-7:] == [
        "AUROC 0.971",
        "which is    the chance that a flipped label ranks above another, by own residual",
        "precision   0.900 among the first 40, as many as were flipped",
        "retraining  Pearson 0.9870, Spearman 0.9760 with samples left out for real",
        "accuracy    0.910 on other digits",
        "run         here/run",
        "report      here/report.html",
    ]


def test_json_is_the_result_alone(run, asked):
    done = run("demo", "--json", "--quiet")
    found = json.loads(done.out)
    assert done.err == "" and found["auroc"] == 0.9712 and found["report"] == "here/report.html"
    assert len(found["suspicious"]) == 10 and asked == [(pathlib.Path("infotorch-demo"), 0)]


def test_a_seed_is_a_whole_number(run, asked):
    line = "demo: --seed must be a whole number, at least 0; got '-1'. Run: infotorch demo --help.\n"
    assert run("demo", "--seed", "-1") == (2, "", line) and asked == []


LIMIT = demo.LimitDemoResult(
    accuracy_limit=0.9622,
    accuracy_ce=0.6675,
    memorised_limit=10,
    memorised_ce=495,
    num_wrong=496,
    auroc=0.9991,
    precision=0.986,
    suspicious=[{"id": "digit-0032", "given": 0, "suggested": 5, "true": 5, "flipped": True, "score": 1.4142}],
    run=pathlib.Path("here/run"),
    report=pathlib.Path("here/report.html"),
)


def test_limit_prints_both_accuracies_in_percent(run, monkeypatch):
    calls = []
    monkeypatch.setattr(demo, "run_limit", lambda out, *, seed, progress: calls.append((out, seed, progress)) or LIMIT)
    done = run("demo", "limit", "--seed", "3")
    assert calls == [(pathlib.Path("infotorch-demo-limit"), 3, True)] and done.code == 0
    lines = done.out.splitlines()
    assert "Accuracy on other digits: LIMIT 96.2 %, cross-entropy 66.8 %" in lines
    assert "memorised  LIMIT 10, cross-entropy 495 of 496 labels flipped on purpose" in lines
    assert [line.split() for line in lines if line.startswith("digit-")] == [
        ["digit-0032", "0", "→", "5", "5", "flipped", "1.41"]
    ]
    found = json.loads(run("demo", "limit", "--json", "--quiet", "--out", "there").out)
    assert found["memorised_ce"] == 495 and calls[1] == (pathlib.Path("there"), 0, False)


def test_a_demo_that_there_is_not(run):
    done = run("demo", "limits")
    assert done.code == 2 and "limits" in done.err


ALL = demo.AllDemoResult(
    num_samples=1797,
    auroc=0.9712,
    auroc_information=0.95,
    precision=0.9,
    num_flipped=180,
    dim=1024,
    directions=205.4,
    num_compared=150,
    spearman=0.9812,
    stderr=0.001,
    suspicious=FOUND.suspicious,
    chapters={
        "limit": "197 of 1,797 labels differ from what the network predicts; of the 180 wrong ones 179 are among them.",
        "weights": "The weights hold 728.3 nats.",
    },
    run=pathlib.Path("here/run"),
    report=pathlib.Path("here/report.html"),
)


def test_all_digits_are_scored_on_demand(run, monkeypatch, asked):
    calls = []
    monkeypatch.setattr(demo, "run_all", lambda out, *, seed, progress: calls.append((out, seed)) or ALL)
    done = run("demo", "--all", "--seed", "3")
    assert calls == [(pathlib.Path("infotorch-demo-all"), 3)] and asked == [] and done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80 and sum(line.startswith("digit-") for line in lines) == 10
    assert lines[-7:] == [
        "fidelity   Spearman 0.981 with exact information in weights, on 150 digits",
        "sketch     1,024 numbers, for 205 directions in use by 1,797 digits",
        "limit      197 of 1,797 labels differ from what the network predicts; of the",
        "           180 wrong ones 179 are among them.",
        "weights    The weights hold 728.3 nats.",
        "run        here/run",
        "report     here/report.html",
    ]
    found = json.loads(run("demo", "--all", "--json", "--quiet", "--out", "there").out)
    assert found["num_flipped"] == 180 and found["run"] == "here/run" and calls[1] == (pathlib.Path("there"), 0)


def test_all_belongs_to_scores(run):
    line = "demo: --all belongs to scores; got limit. Leave one of them out.\n"
    assert run("demo", "limit", "--all") == (2, "", line)


def test_distill_prints_the_table_and_what_it_shows(run, monkeypatch):
    calls = []
    row = demo.DistillDemoRow(name="labels", accuracy=0.927, accuracy_stderr=0.002, fidelity=0.9, fidelity_stderr=0.01)
    found = demo.DistillDemoResult(
        rows=[row], num_train=300, num_seeds=3, statement="On digits distillation does not help.",
        out=pathlib.Path("here"), results=pathlib.Path("here/distill.json"),
    )  # fmt: skip
    monkeypatch.setattr(demo, "run_distill", lambda out, *, seed, progress: calls.append((out, seed)) or found)
    done = run("demo", "distill", "--seed", "3")
    lines = done.out.splitlines()
    assert calls == [(pathlib.Path("infotorch-demo-distill"), 3)] and done.code == 0
    assert ["labels", "92.7", "±", "0.2", "90.0", "±", "1.0"] in [line.split() for line in lines]
    assert lines[-3:] == ["On digits distillation does not help.", "teachers  here", "results   here/distill.json"]
    told = json.loads(run("demo", "distill", "--json", "--quiet").out)
    assert told["rows"][0]["accuracy"] == 0.927 and told["results"] == "here/distill.json"
