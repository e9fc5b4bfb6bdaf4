"""All digits by sketched gradients: the flipped labels are found, and the report holds the exact scores of some."""

import numpy as np
import pytest

from infotorch import demo, store

SMALL = {"num_samples": 120, "dim": 128, "dims": [64, 128], "num_compared": 24, "num_sketches": 2}


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
    assert "Sketched against exact scores" in page and all(row["id"] in page for row in found.suspicious)


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_some_digits_go_the_same_way(tmp_path, monkeypatch):
    found = demo.run_all(tmp_path, **SMALL)
    figures_follow(found, 120, 12, 24)
    assert found.auroc > 0.8
    monkeypatch.setattr(demo.all_digits, "fidelity_curve", lambda *_, **__: pytest.fail("computed again"))
    again = demo.run_all(tmp_path, **SMALL)
    assert again == found


@pytest.mark.slow
def test_flipped_labels_are_found_among_all_digits(tmp_path):
    found = demo.run_all(tmp_path)
    figures_follow(found, 1797, 180, 150)
    assert found.auroc > 0.97 and found.precision > 0.8 and found.spearman > 0.95
    assert found.directions < found.dim / 3
    assert sum(row["flipped"] for row in found.suspicious) >= 9
