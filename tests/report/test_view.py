"""A run as the report sees it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from infotorch.errors import StoreError
from infotorch.report.view import listed, spearman, view
from infotorch.table import Column, Scores, ranks
from tests.report.double import SOURCE, DoubleRun, digits_run, image_columns, noise_run


def run_of(columns, **samples):
    N = len(next(iter(columns.values())).values)
    table = pa.table({"index": np.arange(N), **samples})
    return DoubleRun(table=Scores(index=np.arange(N), columns=columns), rows=table)


def score(values, **options):
    return Column(values=np.asarray(values, float), unit="nats", source=SOURCE, **options)


def test_words_are_listed():
    assert [listed("abcd"[:k]) for k in (1, 2, 4)] == ["a", "a and b", "a, b, c and d"]


def test_spearman_equals_scipy_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 60)).astype(float)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert np.array_equal(ranks(a), stats.rankdata(a))


def test_spearman_of_a_constant_is_zero():
    assert spearman(np.ones(4), np.arange(4.0)) == 0.0


def test_suspicious_samples_are_those_whose_label_differs_largest_residual_first():
    seen = view(digits_run())
    run = digits_run()
    wrong = np.flatnonzero(run.table["suggested_label"].values != np.array(run.rows["label"]))
    residual = run.table["own_residual"].values
    assert seen.suspicious.tolist() == sorted(wrong, key=lambda i: -residual[i])


def suggested(memorization, differs):
    columns = {
        "membership_information": score(np.ones(len(differs))),
        "memorization": score(memorization),
        "suggested_label": Column(values=np.array(differs, int), unit="1", source=SOURCE, kind="heuristic"),
    }
    return view(run_of(columns, label=np.r_[1, np.zeros(len(differs) - 1, int)]))


def test_of_labels_that_runs_suggest_the_memorized_come_first_and_few_are_listed():
    """Where half of the test predictions are wrong, half of the suggested labels differ: that's no list."""
    seen = suggested([0.0, 0.2, 0.9, -0.8, 0.0, 0.5], [1, 1, 1, 1, 1, 0])
    assert seen.wrong.tolist() == [False, True, True, True, True, False] and seen.suspicious.tolist() == [2, 1]
    rng = np.random.default_rng(0)
    for size, most in ((100, 24), (1000, 100)):
        memorization = rng.random(size)
        seen = suggested(memorization, np.r_[1, np.arange(1, size) % 2])
        expected = [i for i in np.argsort(-memorization) if seen.wrong[i]]
        assert len(expected) >= size // 2 - 1 and seen.suspicious.tolist() == expected[:most]


def test_memorization_orders_runs_without_labels_by_its_sign():
    columns = {"membership_information": score([1, 2, 3]), "memorization": score([0.1, -0.9, 0.5])}
    assert view(run_of(columns)).suspicious.tolist() == [2, 0, 1]


def test_without_suggested_labels_all_samples_are_ordered_by_the_asked_score():
    seen = view(run_of({"unique_information_weights": score([1, 3, 2])}))
    assert seen.suggested_text is None
    assert seen.suspicious.tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", ["margin", "normalized_margin", "self_confidence"])
def test_scores_whose_low_values_are_suspicious_order_from_below(name):
    assert view(run_of({name: score([0.5, -3, 2])})).suspicious.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("name", "title"),
    [("loss", "Loss"), ("gradient_norm", "Gradient norm"), ("el2n", "Error norm (EL2N)"), ("margin", "Margin"),
     ("normalized_margin", "Normalized margin"), ("self_confidence", "Self-confidence")],
)  # fmt: skip
def test_baselines_have_a_title_and_a_meaning(name, title):
    (seen,) = view(run_of({name: score([1, 2])})).scores
    assert seen.title == title and seen.meaning


def test_percentile_is_within_the_class():
    columns = {"s": score([1, 2, 3, 4, 10, 20, 30, 40])}
    seen = view(run_of(columns, label=np.array([0, 0, 0, 0, 1, 1, 1, 1])))
    assert seen.percentiles[0].tolist() == [25, 50, 75, 100] * 2


def test_regression_has_no_classes():
    seen = view(run_of({"s": score([1, 2, 3])}, label=np.array([0.5, 1.25, -3.0])))
    assert seen.classes is None
    assert seen.label_text == ("0.5", "1.25", "-3")
    assert seen.code.tolist() == [0, 0, 0]


def test_labels_without_names_are_their_numbers():
    seen = view(run_of({"s": score([1, 2, 3, 4])}, label=np.array([7, 9, 7, 9])))
    assert seen.classes == ("7", "9")


def test_standard_errors_belong_to_their_score():
    columns = {"s": score([1, 2]), "s_stderr": score([0.1, 0.2])}
    seen = view(run_of(columns))
    assert [s.name for s in seen.scores] == ["s"]
    assert seen.scores[0].stderr.tolist() == [0.1, 0.2]


def test_a_score_of_several_outputs_becomes_its_length():
    seen = view(run_of({"s": score([[3, 4], [0, 2]])}))
    assert seen.scores[0].values.tolist() == [5, 2]


def test_several_times_keep_their_names():
    columns = {f"unique_information_weights_t={t}": score([1, 2]) for t in (10, "inf")}
    titles = [s.title for s in view(run_of(columns)).scores]
    assert titles == ["Unique information in weights, t=10", "Unique information in weights, t=inf"]


def test_images_come_back_as_they_were():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    seen = view(run_of({"s": score([1, 2])}, **image_columns(images)))
    assert np.array_equal(seen.image(1), images[1])
    gray = view(run_of({"s": score([1, 2])}, **image_columns(images[..., 0])))
    assert np.array_equal(gray.image(0), images[0, :, :, 0])


def test_above_five_thousand_rows_the_ends_of_the_scores_are_kept():
    seen = view(noise_run(20_000))
    assert len(seen.kept) < 2500 and not seen.whole
    kept = set(seen.kept.tolist())
    assert set(seen.suspicious[:500].tolist()) <= kept
    assert int(np.argmax(seen.scores[0].values)) in kept and int(np.argmin(seen.scores[0].values)) in kept


def test_a_heavy_tail_asks_for_a_logarithmic_axis():
    values = np.exp(np.random.default_rng(0).normal(0, 2, 300))
    assert view(run_of({"s": score(values)})).scores[0].log
    assert not view(run_of({"s": score(-values)})).scores[0].log
    assert not view(run_of({"s": score(1 + 0.1 * values / values.max())})).scores[0].log


def test_a_run_without_numbers_is_refused():
    flags = {"reliable": Column(values=np.array([True]), unit="1", source=SOURCE)}
    with pytest.raises(StoreError, match="report: a run must hold at least one score of one sample; got 1 rows"):
        view(run_of(flags))


def test_scores_of_other_rows_are_refused():
    run = digits_run()
    with pytest.raises(StoreError, match="report: scores and samples must be of the same rows; got 400 rows"):
        view(dataclasses.replace(run, rows=run.rows.slice(1)))
