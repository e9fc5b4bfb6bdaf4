"""Wrong labels: ranked and found as the plain rules say, and taken by cleanlab and Hugging Face as their own."""

import math
import re
import sys

import numpy as np
import pytest
import torch

import infotorch
from infotorch.curation.label_errors import label_errors, whisker
from infotorch.errors import ConfigError, DataError, MissingExtraError, NumericsError
from tests.curation.doubles import NAMES, column, kept, noisy, samples, scores


def test_clear_contradictions_are_wrong_and_hard_samples_are_not():
    table, known, wrong = noisy()
    found = label_errors(table, known)
    assert found.is_label_issue.tolist() == wrong.tolist() and found.num_issues == wrong.sum() == 10
    assert found.threshold == 0.5 and found.by == "own_residual"
    assert found.rule == "suggested label differs, own residual > 0.5 (whisker where it doesn't)"


def test_the_ranking_is_that_of_a_plain_sort(tmp_path):
    table, known, _ = noisy()
    found = label_errors(kept(tmp_path / "a", table, known))
    residual, suggested = table["own_residual"].values, table["suggested_label"].values
    y = known.y.numpy()
    truth = sorted(range(60), key=lambda i: (suggested[i] == y[i], -residual[i], i))
    assert found.order.tolist() == truth
    assert [found.rank[i] for i in truth] == list(range(1, 61))
    first = found.table().to_pylist()[0]
    i = truth[0]
    assert first == {
        "rank": 1, "index": i, "id": f"s{i}", "given_label": y[i], "given_name": NAMES[y[i]],
        "suggested_label": suggested[i], "suggested_name": NAMES[suggested[i]], "own_residual": residual[i],
        "is_label_issue": True,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"top": 7}, {"top": 30}, {"threshold": 0.3}, {"threshold": 9.0}])
def test_wrong_labels_come_first_in_the_ranking(options):
    table, known, _ = noisy()
    found = label_errors(table, known, **options)
    assert set(found.order[: found.num_issues]) == set(np.flatnonzero(found.is_label_issue))


def test_the_user_may_say_how_many_or_how_much():
    table, known, _ = noisy()
    assert label_errors(table, known, top=7).num_issues == 7
    assert label_errors(table, known, top=1000).num_issues == 60
    assert label_errors(table, known, threshold=0.39).num_issues == 20  # hard samples as well, right ones never
    assert label_errors(table, known, threshold=9.0).num_issues == 0
    highest = table["own_residual"].values.max()
    assert label_errors(table, known, threshold=highest).num_issues == 0  # beyond, not at
    assert label_errors(table, known, top=7).threshold is None


def test_low_scores_are_suspicious_where_the_score_says_so():
    table = scores(self_confidence=[0.9, 0.1, 0.8, 0.7, 0.2], predicted_label=[0, 1, 0, 0, 1])
    found = label_errors(table, samples([0, 0, 0, 0, 0]))
    assert found.order.tolist() == [1, 4, 3, 2, 0] and found.threshold == 0.7
    assert found.is_label_issue.tolist() == [False, True, False, False, True]
    assert found.rule == "suggested label differs, self confidence < 0.7 (whisker where it doesn't)"
    assert label_errors(table, samples([0] * 5), threshold=0.15).num_issues == 1


def test_another_score_and_time_may_rank():
    table = scores(own_residual_steps_1=[1.0, 2.0, 0.1], suggested_label_steps_1=[1, 1, 0],
                   own_residual_steps_9=[2.0, 1.0, 0.1], suggested_label_steps_9=[1, 1, 0])  # fmt: skip
    known = samples([0, 0, 0])
    assert label_errors(table, known).order.tolist() == [0, 1, 2]
    assert label_errors(table, known, by="own_residual").order.tolist() == [0, 1, 2]
    assert label_errors(table, known, by="own_residual_steps_1").order.tolist() == [1, 0, 2]


def test_the_whisker_is_the_one_of_a_box_plot(rng):
    values = torch.randn(101, generator=rng).double().exp().numpy()
    low, high = np.percentile(values, 25), np.percentile(values, 75)
    assert whisker(values) == max(v for v in values if v <= high + 1.5 * (high - low)) < values.max()
    assert whisker(np.array([1.0, 2.0, 3.0])) == 3.0 and whisker(np.array([0.5])) == 0.5


def test_cleanlab_trains_without_the_labels_that_are_wrong():
    pytest.importorskip("cleanlab", reason="no cleanlab: it comes with the extra of this name")
    from cleanlab.classification import CleanLearning
    from cleanlab.dataset import health_summary

    table, known, wrong = noisy()
    frame = label_errors(table, known).to_cleanlab()
    assert frame.index.tolist() == list(range(60))
    assert dict(frame.dtypes.astype(str)) == {
        "is_label_issue": "bool", "label_quality": "float64", "given_label": "int64", "predicted_label": "int64"
    }  # fmt: skip
    assert frame.sort_values("label_quality").index.tolist() == label_errors(table, known).order.tolist()
    assert frame["label_quality"].min() == 0 and frame["label_quality"].max() == 59 / 60

    class Counting:
        """A classifier that keeps what it was trained on."""

        def fit(self, X, y):
            self.X, self.y = X, y
            return self

        def predict(self, X):
            return np.zeros(len(X), int)

        def predict_proba(self, X):
            return np.full((len(X), 3), 1 / 3)

        def get_params(self, deep=True):
            return {}

    y = known.y.numpy()
    model = CleanLearning(Counting(), verbose=False).fit(np.arange(60)[:, None], y, label_issues=frame)
    assert model.clf.X[:, 0].tolist() == np.flatnonzero(~wrong).tolist()
    assert model.get_label_issues()[frame.columns].equals(frame)
    with pytest.raises(ValueError, match="labels must match"):
        CleanLearning(Counting()).fit(np.arange(60)[:, None], (y + 1) % 3, label_issues=frame)
    theirs = CleanLearning(Counting(), verbose=False).find_label_issues(
        labels=y, pred_probs=np.eye(3)[frame["predicted_label"]] * 0.8 + 0.2 / 3
    )
    assert set(frame.columns) == set(theirs.columns)
    summary = health_summary(y, np.eye(3)[frame["predicted_label"]] * 0.8 + 0.2 / 3, verbose=False)
    assert 0 < summary["overall_label_health_score"] < 1


def test_a_dataset_has_classes_by_name():
    datasets = pytest.importorskip("datasets", reason="no datasets: it comes with the extra of this name")
    table, known, _ = noisy()
    found = label_errors(table, known)
    made = found.to_dataset()
    assert made.features["given_label"] == made.features["suggested_label"] == datasets.ClassLabel(names=list(NAMES))
    assert made["id"][:3] == found.table()["id"].to_pylist()[:3] and len(made) == 60
    assert made.filter(lambda row: row["is_label_issue"]).num_rows == 10
    names = made.features["given_label"].int2str(made["given_label"][:60])
    assert names == found.table()["given_name"].to_pylist()
    assert made.features["own_residual"].dtype == "float64"
    beyond = scores(own_residual=[2.0, 1.0], suggested_label=[7, 0])  # an output without a name
    made = label_errors(beyond, samples([0, 0], label_names=NAMES)).to_dataset()
    assert made.features["suggested_label"].dtype == "int64" and made["suggested_label"][0] == 7


def test_a_file_has_all_labels(tmp_path):
    import pyarrow.parquet

    table, known, _ = noisy()
    found = label_errors(table, known)
    assert pyarrow.parquet.read_table(found.write(tmp_path / "a.parquet")).equals(found.table())


def test_classes_without_names_are_numbers():
    found = label_errors(scores(own_residual=[2.0, 1.0], suggested_label=[7, 0]), samples([0, 0]))
    assert "given_name" not in found.table().column_names and found.name_of(7) == "7"


def test_scores_that_suggest_nothing_need_a_number():
    table, known = scores(el2n=[1.0, 3.0, 2.0]), samples([0, 1, 0])
    with pytest.raises(ConfigError, match=r"labels that the scores agree with .*; got no suggested labels. Give top,"):
        label_errors(table, known)
    found = label_errors(table, known, threshold=1.5)
    assert found.is_label_issue.tolist() == [False, True, True] and found.suggested is None
    assert found.rule == "el2n > 1.5" and "suggested_label" not in found.table().column_names
    assert label_errors(table, known, top=2).order.tolist() == [1, 2, 0]
    assert "predicted_label" not in found.to_cleanlab()


def test_suggestions_against_every_label_need_a_number():
    table = scores(own_residual=[1.0, 2.0], suggested_label=[1, 1])
    with pytest.raises(ConfigError, match=r"got suggestions that contradict every label. Give top, threshold"):
        label_errors(table, samples([0, 0]))
    assert label_errors(table, samples([0, 0]), top=1).num_issues == 1


def test_infinite_scores_rank_and_set_no_threshold():
    table = scores(own_residual=[math.inf, 0.5, math.inf, 0.7], suggested_label=[1, 0, 0, 1])
    found = label_errors(table, samples([0, 0, 0, 0]))
    assert found.threshold == 0.5 and found.order.tolist() == [0, 3, 2, 1] and found.num_issues == 2


def test_a_score_that_is_nan_never_comes_this_far():
    with pytest.raises(NumericsError, match="'own_residual' must be a number for every sample; got nan for sample 1"):
        scores(own_residual=[1.0, math.nan])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"top": 3, "threshold": 1.0}, "one of top and threshold may be given; got 3 and 1.0"),
        ({"top": 0}, "top must be a whole number of at least 1; got 0"),
        ({"top": 2.5}, "top must be a whole number of at least 1; got 2.5"),
        ({"threshold": math.nan}, "threshold must be a number; got nan"),
        ({"by": "own_residaul"}, "got 'own_residaul'. Did you mean 'own_residual'?"),
    ],
)
def test_bad_options_are_named(options, text):
    table, known, _ = noisy()
    with pytest.raises(ConfigError, match=re.escape(text)):
        label_errors(table, known, **options)


def test_targets_of_a_regression_are_refused():
    with pytest.raises(DataError, match=r"label_errors: labels must be one class a sample; got 0\.5 for sample 0"):
        label_errors(scores(own_residual=[1.0]), samples([0.5]), top=1)


@pytest.mark.parametrize(("method", "module"), [("to_cleanlab", "pandas"), ("to_dataset", "datasets")])
def test_a_missing_library_comes_with_the_command_that_adds_it(monkeypatch, method, module):
    monkeypatch.setitem(sys.modules, module, None)
    table, known, _ = noisy()
    with pytest.raises(MissingExtraError, match=rf'{method}: needs {module}; .* Run: pip install "infotorch\[{module}'):
        getattr(label_errors(table, known), method)()


def test_flipped_labels_of_a_real_measure_are_found(rng):
    centers = 4 * torch.eye(3, 5)
    true = torch.randint(3, (90,), generator=rng)
    x = centers[true] + torch.randn(90, 5, generator=rng)
    wrong = torch.arange(90) % 10 == 0
    y = torch.where(wrong, (true + 1) % 3, true)
    task = infotorch.Task(torch.nn.Linear(5, 3).eval())
    table = infotorch.score(task, (x, y), infotorch.UniqueInformation(l2=0.1))
    found = infotorch.label_errors(table, (x, y))
    assert found.is_label_issue[wrong.numpy()].mean() >= 0.8 and found.is_label_issue[~wrong.numpy()].mean() <= 0.05
    assert (found.suggested[found.is_label_issue] == true.numpy()[found.is_label_issue]).mean() > 0.8
    assert column(found.scores).values.shape == (90,)


@pytest.mark.parametrize("shape", [(80,), (80, 1)], ids=str)
def test_flipped_labels_of_a_binary_loss_are_found_in_memory_as_in_a_run(shape, rng, tmp_path):
    true = torch.randint(2, (80,), generator=rng)
    x = torch.randn(80, 4, generator=rng) + 4 * true[:, None]
    wrong = torch.arange(80) % 10 == 0
    y = torch.where(wrong, 1 - true, true).float().reshape(shape)
    model = (
        torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)) if len(shape) == 1 else torch.nn.Linear(4, 1)
    )
    task = infotorch.Task(model.eval(), loss="binary_cross_entropy")
    table = infotorch.score(task, (x, y), infotorch.UniqueInformation(l2=0.1), out=tmp_path / "run")
    found = infotorch.label_errors(table, (x, y))
    assert found.given.tolist() == y.flatten().long().tolist()
    assert found.is_label_issue[wrong.numpy()].mean() >= 0.8 and found.is_label_issue[~wrong.numpy()].mean() <= 0.05
    assert found.order.tolist() == infotorch.label_errors(tmp_path / "run").order.tolist()
