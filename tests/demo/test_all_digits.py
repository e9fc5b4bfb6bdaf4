"""All digits, every chapter: the flipped labels are found, and one report has all that is known of each digit."""

import json
import os
import pathlib
import pickle
import re
import sys

import numpy as np
import pytest

from infotorch import demo, store
from tests import ahead
from tests.demo.all_digits import SHORT

HOUSE = pathlib.Path(__file__).parents[2]
SMALL = {"num_samples": 120, "dim": 128, "dims": [64, 128], "num_compared": 24, "num_sketches": 2}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, few in SHORT.items():
        monkeypatch.setattr(demo.chapters, name, few)
    monkeypatch.setattr(demo.limit, "EPOCHS", 3)


def figures_follow(found, num_samples, num_flipped, num_compared):
    """AUROC by counting pairs, from nothing but the run on disk."""
    run = store.open(found.run)
    scores, flipped = run.scores(), np.asarray(run.samples()["flipped"])
    residual = scores["own_residual"].values
    assert len(scores) == found.num_samples == num_samples and flipped.sum() == found.num_flipped == num_flipped
    assert found.auroc == pytest.approx((residual[flipped][:, None] > residual[~flipped]).mean(), abs=1e-12)
    assert found.precision == flipped[np.argsort(-residual)[:num_flipped]].mean()
    note = run.notes()["fidelity_curve"]
    (at,) = [point for point in note["points"] if point["dim"] == found.dim]
    assert at["columns"]["unique_information_weights"]["spearman"] == {"mean": found.spearman, "stderr": found.stderr}
    assert note["num_samples"] == found.num_compared == num_compared
    assert note["effective_dimension"] == found.directions == run.notes()["fidelity"][0]["effective_dimension"]
    store.verify(found.run)
    page = found.report.read_text()
    assert all(row["id"] in page for row in found.suspicious)
    for chapter in ("fidelity", "limit", "weights", "activations", "bounds", "supervision"):
        assert f'<section id="{chapter}"' in page
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    samples = json.loads(data)["samples"]
    names = [score["name"] for score in samples["scores"]]
    assert {"unique_information_weights", "limit_ema", "membership_information", "fisher_trace"} <= set(names)
    for folder, name in (("limit", "limit_ema"), ("bounds", "membership_information"), ("weights", "fisher_trace")):
        kept = store.open(found.run.parent / folder)
        own = dict(zip(kept.samples()["id"].to_pylist(), kept.scores()[name].values, strict=True))
        assert len(own) == len(samples["id"]) == num_samples
        shown = samples["scores"][names.index(name)]["values"]
        assert shown == pytest.approx([own[id] for id in samples["id"]], rel=1e-5)
    assert set(found.chapters) == {"limit", "bounds", "weights", "supervision"} and all(found.chapters.values())


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_some_digits_go_the_same_way(tmp_path, monkeypatch):
    found = demo.run_all(tmp_path, **SMALL)
    figures_follow(found, 120, 12, 24)
    assert found.auroc > 0.8
    monkeypatch.setattr(demo.all_digits, "fidelity_curve", lambda *_, **__: pytest.fail("computed again"))
    again = demo.run_all(tmp_path, **SMALL)
    assert again == found


def whole():
    """The folder, and the process that has filled it."""
    out = ahead.folder()
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "tests.demo.all_digits", out.name]
    return out, ahead.run(*command, cwd=HOUSE, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.ahead.with_args(whole)
def test_flipped_labels_are_found_among_all_digits():
    out, done = ahead.soon(whole).result()
    assert done.returncode == 0, done.stderr
    found = pickle.loads((pathlib.Path(out.name) / "found.pickle").read_bytes())
    figures_follow(found, 1797, 180, 150)
    assert found.auroc > 0.97 and found.precision > 0.8 and found.spearman > 0.95
    assert found.directions < found.dim / 3
    assert sum(row["flipped"] for row in found.suspicious) >= 9
