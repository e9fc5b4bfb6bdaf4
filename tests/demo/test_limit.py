"""LIMIT's demo: cross-entropy memorises the wrong labels, LIMIT finds them, and the report shows both."""

import numpy as np
import pytest

from infotorch import demo, store
from infotorch.errors import StoreError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return demo.run_limit(tmp_path_factory.mktemp("demo"))


def test_limit_does_not_memorise_and_cross_entropy_does(found):
    assert found.accuracy_limit > 0.9 > 0.75 > found.accuracy_ce
    assert found.memorised_limit < 0.1 * found.num_wrong and found.memorised_ce > 0.9 * found.num_wrong
    assert found.auroc > 0.98 and found.precision > 0.95
    assert len(found.suspicious) == 10 and all(row["flipped"] for row in found.suspicious)


def test_figures_follow_from_the_stored_scores(found):
    """AUROC by counting pairs, memorised labels by looking at each, from nothing but the run on disk."""
    run = store.open(found.run)
    scores, samples = run.scores(), run.samples()
    flipped, given = np.asarray(samples["flipped"]), np.asarray(samples["label"])
    above = scores.values[flipped][:, None] > scores.values[~flipped]
    assert found.auroc == pytest.approx(above.mean(), abs=1e-6)
    assert found.memorised_limit == int((scores["suggested_label"].values == given)[flipped].sum())
    store.verify(found.run)


def test_report_names_the_suspects_and_draws_the_training(found):
    html = found.report.read_text()
    assert all(row["id"] in html for row in found.suspicious)
    assert all(part in html for part in ("limit-accuracy", "limit-nats", "limit-confusion"))


def test_a_run_is_not_taken_for_a_folder(found):
    with pytest.raises(StoreError, match="must be free for the demo's folder; got a run"):
        demo.run_limit(found.run)
