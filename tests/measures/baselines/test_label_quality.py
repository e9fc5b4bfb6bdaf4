import re
import sys

import numpy as np
import pytest
import torch

import infotorch
from infotorch.errors import ConfigError, DataError, MissingExtraError, NumericsError
from infotorch.measures import LabelQuality
from infotorch.measures.detection import detection
from tests.measures.baselines.doubles import binary, classifier, shown, spoilt, two_logits

COLUMNS = ["self_confidence", "normalized_margin", "is_label_issue", "predicted_label"]


@pytest.fixture
def cleanlab():
    return pytest.importorskip("cleanlab", reason="no cleanlab: it comes with the extra of this name")


def noisy(rng, N=300, C=4):
    """Logits that speak for the true class, labels of which a tenth are wrong, and which."""
    true = torch.randint(C, (N,), generator=rng)
    wrong = torch.rand(N, generator=rng) < 0.1
    y = torch.where(wrong, (true + torch.randint(1, C, (N,), generator=rng)) % C, true)
    logits = torch.randn(N, C, generator=rng, dtype=torch.float64)
    return logits.scatter_add(1, true[:, None], torch.full((N, 1), 5.0).double()), y, wrong


def test_scores_are_those_of_the_formulas(cleanlab, rng):
    task, x, y = classifier(rng, N=40)
    scores = LabelQuality().scores(task, x, y)
    assert list(scores.columns) == COLUMNS and scores.main == "self_confidence"
    p = task.model(x).softmax(1).detach()
    given = p.gather(1, y[:, None])[:, 0]
    others = p.scatter(1, y[:, None], 0).amax(1)
    np.testing.assert_allclose(scores["self_confidence"].values, given, rtol=1e-12)
    np.testing.assert_allclose(scores["normalized_margin"].values, (given - others + 1) / 2, rtol=1e-12)
    assert scores["predicted_label"].values.tolist() == p.argmax(1).tolist()
    assert {(c.unit, c.kind) for c in scores.columns.values()} == {("1", "heuristic")}
    assert all(c.source == f"arXiv 1911.00068, by cleanlab {cleanlab.__version__}" for c in scores.columns.values())


def test_issues_are_cleanlabs_and_the_wrong_labels(cleanlab, rng):
    logits, y, wrong = noisy(rng)
    scores = LabelQuality().scores(*shown(logits), y)
    found = scores["is_label_issue"].values
    assert found.dtype == bool
    theirs = cleanlab.filter.find_label_issues(y.numpy(), logits.softmax(1).numpy(), n_jobs=1)
    assert np.array_equal(found, theirs)
    assert found[wrong].mean() > 0.8 and found[~wrong].mean() < 0.03
    assert detection(-scores["self_confidence"].values, wrong).auroc > 0.95
    assert detection(-scores["normalized_margin"].values, wrong).auroc > 0.95


def test_given_probabilities_take_the_place_of_the_models(cleanlab, rng):
    logits, y, _ = noisy(rng)
    truth = LabelQuality().scores(*shown(logits), y)
    task, x = shown(torch.zeros_like(logits))
    for p in (logits.softmax(1), logits.softmax(1).numpy(), logits.softmax(1).tolist()):
        scores = LabelQuality(pred_probs=p).scores(task, x, y)
        for name in COLUMNS:
            np.testing.assert_allclose(scores[name].values, truth[name].values, rtol=1e-12)
    assert LabelQuality().config() == {"pred_probs": None}
    assert LabelQuality(pred_probs=p).config() == LabelQuality(pred_probs=logits.softmax(1)).config()
    assert LabelQuality(pred_probs=p).config() != LabelQuality(pred_probs=p[::-1]).config()


def test_it_sees_all_samples_together_beside_others(cleanlab, rng, tmp_path):
    logits, y, _ = noisy(rng)
    task, x = shown(logits)
    scores = infotorch.score(
        task, (x, y), ["el2n", "label_quality"], out=tmp_path / "run", batch_size=50, shard_size=99
    )
    assert list(scores.columns) == ["el2n", *COLUMNS]
    found = LabelQuality().scores(task, x, y)["is_label_issue"].values
    assert np.array_equal(scores["is_label_issue"].values, found) and found.any()


def test_parts_do_not_matter(cleanlab, rng):
    task, x, y = classifier(rng, N=40)
    steps = []
    got = LabelQuality().scores(task, x, y, memory_limit=2000, progress=lambda *step: steps.append(step))
    assert steps[0] == ("label_quality", 13, 40) and steps[-1] == ("label_quality", 40, 40)
    np.testing.assert_allclose(got.values, LabelQuality().scores(task, x, y).values, rtol=1e-12)


def test_one_logit_is_two(cleanlab, rng):
    task, x, y = binary(rng, N=40)
    one, two = LabelQuality().scores(task, x, y), LabelQuality().scores(two_logits(task), x, y.long())
    for name in COLUMNS:
        np.testing.assert_allclose(one[name].values, two[name].values, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:May not flag all label issues")
def test_a_class_without_samples_is_a_class(cleanlab, rng):
    task, x, _ = classifier(rng, N=40)
    scores = LabelQuality().scores(task, x, 2 * torch.randint(2, (40,), generator=rng))
    assert len(scores) == 40


def test_one_class_is_refused(cleanlab, rng):
    task, x, _ = classifier(rng)
    with pytest.raises(DataError, match=r"label_quality: labels must be of at least two classes; got 2 for each of 11"):
        LabelQuality().scores(task, x, torch.full((11,), 2))


def test_what_other_scores_of_labels_refuse_is_refused(cleanlab, rng):
    task, x, y = classifier(rng)
    with pytest.raises(DataError, match="label_quality: y must be one class label a sample"):
        LabelQuality().scores(task, x, torch.full((11, 3), 1 / 3, dtype=torch.float64))
    y[3] = 3
    with pytest.raises(DataError, match=r"labels must be in 0\.\.2"):
        LabelQuality().scores(task, x, y)
    with pytest.raises(DataError, match=r"labels must be in 0\.\.2"):
        LabelQuality(pred_probs=torch.full((11, 3), 1 / 3)).scores(task, x, y)
    with pytest.raises(NumericsError, match=r"label_quality: .* must be finite; got nan for sample 7\."):
        LabelQuality().scores(spoilt(task, x, 7), x, y % 3)
    task.model.train()
    with pytest.raises(ConfigError, match="the model must be in eval mode"):
        LabelQuality().scores(task, x, y % 3)


@pytest.mark.parametrize(("p", "got"), [
    ([[0.5, 0.5], [0.5, 0.6]], "[0.5, 0.6] for sample 1"), ([[1.5, -0.5]], "[1.5, -0.5] for sample 0"),
    ([[float("nan"), 1.0]], "[nan, 1.0] for sample 0"), ([0.5, 0.5], "[2]"), ([[1.0], [1.0]], "[2, 1]"),
])  # fmt: skip
def test_what_are_no_probabilities_is_refused(p, got):
    with pytest.raises(
        ConfigError,
        match=re.escape(f"pred_probs must be probabilities [N, C] that sum to 1 over C >= 2 classes; got {got}."),
    ):
        LabelQuality(pred_probs=p)


def test_probabilities_of_other_samples_are_refused(cleanlab, rng):
    task, x, y = classifier(rng)
    with pytest.raises(ConfigError, match="label_quality: pred_probs must have a row a sample, 11; got 5"):
        LabelQuality(pred_probs=torch.full((5, 3), 1 / 3)).scores(task, x, y)


def test_a_missing_cleanlab_comes_with_the_command_that_adds_it(monkeypatch, rng):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(
        MissingExtraError, match=r'label_quality: needs cleanlab; .* Run: pip install "infotorch\[cleanlab\]"'
    ):
        LabelQuality().scores(*classifier(rng))
