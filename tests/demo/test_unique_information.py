"""The demo finds the flipped labels, agrees with true retraining, and repeats itself to the byte."""

import hashlib

import numpy as np
import pytest

from infotorch import demo, store
from infotorch.errors import StoreError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return demo.run(tmp_path_factory.mktemp("demo"))


def test_flipped_labels_are_found(found):
    assert found.num_flipped == 32 and len(found.suspicious) == 10
    assert found.auroc > 0.97 and found.auroc_information > 0.9 and found.precision > 0.8
    assert all(row["given"] != row["true"] and row["flipped"] for row in found.suspicious)
    assert sum(row["suggested"] == row["true"] for row in found.suspicious) >= 7


def test_figures_follow_from_the_stored_scores(found):
    """AUROC by counting pairs, from nothing but the run on disk."""
    run = store.open(found.run)
    residual = run.scores()["own_residual"].values
    flipped = np.asarray(run.samples()["flipped"])
    assert found.auroc == pytest.approx((residual[flipped][:, None] > residual[~flipped]).mean(), abs=1e-12)
    first = np.argsort(-residual)[: found.num_flipped]
    assert found.precision == flipped[first].mean()
    store.verify(found.run)


def test_scores_agree_with_true_retraining(found):
    assert found.pearson > 0.98 and found.spearman > 0.9


def test_the_same_command_reads_what_is_there(found, monkeypatch):
    def digests():
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in found.run.rglob("*") if p.is_file()}

    before = digests()
    monkeypatch.setattr(demo.unique_information, "retraining", lambda *_: pytest.fail("computed again"))
    again = demo.run(found.run.parent)
    assert again.suspicious == found.suspicious and again.auroc == found.auroc
    assert digests() == before


def test_report_names_the_suspects(found):
    html = found.report.read_text()
    assert all(row["id"] in html for row in found.suspicious)


def test_a_run_is_not_taken_for_a_folder(found):
    with pytest.raises(StoreError, match="must be free for the demo's folder; got a run"):
        demo.run(found.run)
