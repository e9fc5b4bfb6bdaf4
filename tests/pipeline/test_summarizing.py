"""What is kept of a data set, and in which order the rest leaves."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import UniqueInformation, pipeline
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures import LabelQuality
from infotorch.pipeline import summarize, summarize_scores
from infotorch.pipeline.limit_training import select
from infotorch.pipeline.trajectory import Trajectory
from infotorch.table import Column, Scores
from infotorch.task import Task
from tests.pipeline.doubles import Centered, Sum, made

N = 24


def problem(seed=0, C=2):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, C)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) / 2)
    x = torch.randn(N, 5, generator=rng, dtype=torch.float64)
    y = (torch.arange(N) % 6 == 0).long()  # 4 of class 1, 20 of class 0
    return Task(model), pipeline.scoring.samples_of((x, y)), torch.randn(7, 5, generator=rng, dtype=torch.float64)


def table(values, **others):
    columns = {"information": values, **others}
    return Scores(
        index=np.arange(len(values)),
        columns={n: Column(values=np.asarray(v), unit="1", source="test") for n, v in columns.items()},
    )


class Steps(Sum):
    """Scores by what is left: the first input of a sample times how many there are, odd samples the other way."""

    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        self.calls.append(len(x))
        values = (x[:, 0] * (1 if len(x) % 2 else -1)).double().numpy()
        return Scores(index=np.arange(len(x)), columns={"steps": Column(values=values, unit="1", source="test")})


def test_once_the_lowest_leave():
    task, samples, _ = problem()
    measure = UniqueInformation(l2=0.1)
    found = summarize(task, samples, keep=0.25, measure=measure)
    values = pipeline.score(task, samples, measure)["unique_information_weights"].values
    order = np.argsort(values)
    assert found.removed.tolist() == order[:18].tolist()
    assert found.kept.tolist() == sorted(order[18:]) and len(found) == 6
    assert found.by == "unique_information_weights" and found.values.tolist() == values.tolist()
    assert found.scores["unique_information_weights"].values.tolist() == values.tolist()
    assert found.round.tolist() == [0 if i in found.kept else 1 for i in range(N)]
    assert found.kept_ids == tuple(str(i) for i in found.kept)


@pytest.mark.parametrize("dynamics", [{}, {"lr": 0.1, "steps": 30}], ids=["converged", "steps"])
def test_rounds_are_those_done_by_hand(dynamics):
    """Both by scoring what is left, and by scoring all with the others declared removed."""
    task, samples, x_test = problem()
    options = {"space": "both", "test_data": x_test, "l2": 0.05, **dynamics}
    found = summarize(task, samples, keep=6, measure=UniqueInformation(**options), rounds=4)
    left, removed, last = list(range(N)), [], np.empty(N)
    for share in (4, 5, 4, 5):
        part = select(samples, torch.tensor(left))
        values = pipeline.score(task, part, UniqueInformation(**options))["unique_information_functions"].values
        gone = torch.ones(N, dtype=torch.bool)
        gone[left] = False
        masked = UniqueInformation(**options, removed=gone) if gone.any() else UniqueInformation(**options)
        whole = pipeline.score(task, samples, masked)["unique_information_functions"].values
        np.testing.assert_allclose(whole[left], values, rtol=1e-8)
        last[left] = values
        leaving = [left[i] for i in np.argsort(values)[:share]]
        removed += leaving
        left = [i for i in left if i not in leaving]
    assert found.removed.tolist() == removed and found.kept.tolist() == left
    np.testing.assert_array_equal(found.values, last)
    assert np.bincount(found.round).tolist() == [6, 4, 5, 4, 5]
    assert found.by == "unique_information_functions" and len(found.scores) == N


def test_rounds_find_another_set_than_once():
    """A duplicate is worthless beside its twin: once both leave, in rounds one of them stays."""
    x = torch.cat([torch.eye(4, 5), torch.eye(4, 5)[:1]]).double()
    x[[0, 4]] *= 0.7
    y = torch.ones(5, 1, dtype=torch.float64)
    model = nn.Linear(5, 1, bias=False).double().eval()
    nn.init.zeros_(model.weight)
    task, measure = Task(model, loss="mse"), UniqueInformation(l2=0.1)
    assert summarize(task, (x, y), keep=3, measure=measure).kept.tolist() == [1, 2, 3]
    assert 0 in summarize(task, (x, y), keep=3, measure=measure, rounds=2).kept.tolist()


def test_measures_that_look_at_one_sample_are_rescored_too():
    task, data = made()
    measure = Steps()
    found = summarize(task, (data[0].flatten(1), data[1]), keep=5, measure=measure, rounds=3, batch_size=100)
    assert measure.calls == [11, 9, 7] and len(found) == 5
    order = np.argsort(data[0].flatten(1)[:, 0].numpy())
    assert found.removed.tolist() == order[:6].tolist()


def test_of_equal_scores_the_later_leave_first():
    found = summarize_scores(table([1.0, 0.0, 1.0, 0.0, 1.0, 1.0]), keep=3)
    assert found.kept.tolist() == [0, 2, 4] and found.removed.tolist() == [3, 1, 5]


def test_low_margins_are_the_informative_ones():
    scores = table([3.0, -1.0, 0.0, 2.0], margin=[3.0, -1.0, 0.0, 2.0])
    assert summarize_scores(scores, keep=2).kept.tolist() == [0, 3]
    found = summarize_scores(scores, keep=2, by="margin")
    assert found.kept.tolist() == [1, 2] and found.removed.tolist() == [0, 3]
    assert found.values.tolist() == [3.0, -1.0, 0.0, 2.0]


@pytest.mark.parametrize("rounds", [1, 2, 5, 14])
def test_balanced_keeps_the_proportions(rounds):
    task, samples, _ = problem()
    found = summarize(task, samples, keep=10, measure=UniqueInformation(l2=0.1), balanced=True, rounds=rounds)
    assert found.counts_before == {0: 20, 1: 4}
    assert found.counts_after == {0: 8, 1: 2}  # 8.33 and 1.67
    assert np.bincount(samples.y[found.kept]).tolist() == [8, 2]
    assert len(np.unique(found.round[found.removed])) == rounds


def test_without_balance_a_class_may_leave():
    scores = table(np.arange(10.0))
    found = summarize_scores(scores, keep=4, labels=[7] * 5 + [8] * 5, label_names=None)
    assert found.counts_before == {7: 5, 8: 5} and found.counts_after == {7: 0, 8: 4}
    even = summarize_scores(scores, keep=4, labels=[7] * 5 + [8] * 5, balanced=True)
    assert even.counts_after == {7: 2, 8: 2} and even.kept.tolist() == [3, 4, 8, 9]


def test_balanced_takes_the_best_of_each_class():
    task, samples, _ = problem()
    measure = UniqueInformation(l2=0.1)
    found = summarize(task, samples, keep=12, measure=measure, balanced=True)
    values, labels = pipeline.score(task, samples, measure).values, samples.y.numpy()
    best = [np.flatnonzero(labels == c)[np.argsort(-values[labels == c])][:k] for c, k in ((0, 10), (1, 2))]
    assert found.kept.tolist() == sorted(np.concatenate(best))


def test_of_several_times_the_last_in_the_functions_is_taken():
    names = ["unique_information_weights_steps_9", "unique_information_functions_steps_1",
             "unique_information_functions_steps_9", "unique_information_functions_steps_9_stderr"]  # fmt: skip
    scores = table(np.arange(3.0), **{name: np.roll([5.0, 1.0, 2.0], i) for i, name in enumerate(names)})
    assert summarize_scores(scores, keep=1).by == "unique_information_functions_steps_9"
    assert summarize_scores(table(np.arange(3.0)), keep=1).by == "information"
    assert summarize_scores(scores, keep=1, by="information").kept.tolist() == [2]
    found = summarize_scores(scores, keep=1, by="unique_information_weights")
    assert found.by == "unique_information_weights_steps_9"
    assert found.values.tolist() == scores[found.by].values.tolist()
    at_once = summarize_scores(scores, keep=1, by="unique_information_functions_steps_1")
    assert at_once.by == "unique_information_functions_steps_1"


def test_a_name_without_a_time_is_the_last_of_several_in_every_round():
    task, samples, _ = problem()
    options = {"measure": UniqueInformation(lr=0.1, steps=[1, 30], l2=0.1), "keep": 6, "rounds": 2}
    found = summarize(task, samples, by="unique_information_weights", **options)
    want = summarize(task, samples, by="unique_information_weights_steps_30", **options)
    assert found.by == want.by and found.removed.tolist() == want.removed.tolist()


def test_low_margins_are_the_informative_ones_at_any_time():
    scores = table([3.0, -1.0, 0.0, 2.0], margin_steps_1=[0.0, 1.0, 2.0, 3.0], margin_steps_2=[3.0, -1.0, 0.0, 2.0])
    assert summarize_scores(scores, keep=2, by="margin").kept.tolist() == [1, 2]
    assert summarize_scores(scores, keep=2, by="margin_steps_1").kept.tolist() == [0, 1]


@pytest.mark.parametrize("time", ["", "_steps_9"])
def test_of_means_over_checkpoints_the_mean_is_taken_and_not_the_change(time):
    name = f"unique_information_weights{time}"
    tables = [table(values, **{name: values}) for values in ([9.0, 5.0, 1.0], [4.0, 5.0, 3.0])]
    means = Trajectory(names=("early", "late"), tables=tuple(tables)).to_scores()
    found = summarize_scores(means, keep=1)
    assert found.by == name and found.values.tolist() == [6.5, 5.0, 2.0] and found.kept.tolist() == [0]
    assert summarize_scores(means, keep=1, by=f"{name}_change").kept.tolist() == [2]


def test_the_model_and_the_data_are_left_as_they_are():
    task, samples, _ = problem()
    before = [p.clone() for p in task.model.parameters()], samples.digest()
    summarize(task, samples, keep=5, measure=UniqueInformation(l2=0.1), rounds=3)
    assert all(torch.equal(a, b) for a, b in zip(task.model.parameters(), before[0], strict=True))
    assert samples.digest() == before[1]


def test_progress_names_the_round():
    told = []
    task, data = made()
    summarize(task, data, keep=3, measure=Centered("c"), rounds=2, progress=lambda *all: told.append(all))
    assert ("round 1 of 2: centering", 1, 1) in told and ("round 2 of 2: centering", 1, 1) in told
    told.clear()
    summarize(task, data, keep=3, measure=Centered("c"), progress=lambda *all: told.append(all))
    assert ("centering", 1, 1) in told


@pytest.mark.parametrize(
    "measure",
    [
        UniqueInformation(groups=torch.eye(N, dtype=torch.bool)),
        UniqueInformation(removed=torch.zeros(N, dtype=torch.bool)),
        ["loss", LabelQuality(pred_probs=np.full((N, 2), 0.5))],
    ],
    ids=["groups", "removed", "pred_probs"],
)
def test_options_of_all_samples_are_refused(measure):
    task, samples, _ = problem()
    with pytest.raises(ConfigError, match="summarize: the measure must fit any part of the samples; got one with "):
        summarize(task, samples, keep=5, measure=measure)


def test_a_score_of_nan_is_refused_and_says_where():
    class Spoilt(Sum):
        def scores(self, task, x, y, *, memory_limit=None, progress=None):
            values = np.arange(len(x)) / (len(x) - 8.0) if len(x) == 8 else np.arange(1.0 * len(x))
            column = Column(values=values, unit="1", source="test")
            return Scores(index=np.arange(len(x)), columns={"spoilt": column})

    task, data = made()
    with np.errstate(all="ignore"), pytest.raises(NumericsError) as error:
        summarize(task, data, keep=5, measure=Spoilt(), rounds=2)
    assert "'spoilt' must be a number for every sample; got nan for sample 0" in str(error.value)
    assert str(error.value).endswith("Samples count within the 8 that round 2 scores.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep must leave at least 1 of 4 samples"),
        ({"keep": 1.5}, "keep must be a share between 0 and 1"),
        ({"keep": float("nan")}, "keep must be a share between 0 and 1"),
        ({"keep": 5}, "keep must leave at least 1 of 4 samples"),
        ({"keep": 2, "by": "informaton"}, "column must be one of 'information', 'classes', 'two'; got 'informaton'"),
        ({"keep": 2, "by": "classes"}, "by must name a column of one real number a sample; got 'classes', int64 [4]"),
        ({"keep": 2, "by": "two"}, "by must name a column of one real number a sample; got 'two', float64 [4, 2]"),
    ],
    ids=str,
)
def test_what_no_summary_can_be_made_of_is_refused(options, message):
    scores = table(np.arange(4.0), classes=np.arange(4), two=np.zeros((4, 2)))
    with pytest.raises(ConfigError, match=re.escape(message)):
        summarize_scores(scores, **options)


def test_balance_needs_classes():
    scores = table(np.arange(4.0))
    with pytest.raises(DataError, match="summarize: balanced needs labels that are classes, whole numbers"):
        summarize_scores(scores, keep=2, balanced=True)
    with pytest.raises(DataError, match="summarize: balanced needs labels that are classes, whole numbers"):
        summarize_scores(scores, keep=2, balanced=True, labels=[0.5, 1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="balanced needs samples of two classes or more; got 3 alone"):
        summarize_scores(scores, keep=2, balanced=True, labels=[3, 3, 3, 3])


def test_scores_of_other_samples_are_refused():
    scores = table(np.arange(4.0))
    with pytest.raises(ShapeError, match="summarize: scores must be of all samples; got 2 rows that are not the pl"):
        summarize_scores(scores.rows(1, 3), keep=1)
    with pytest.raises(ShapeError, match="summarize: labels must be one a sample, 4; got 3"):
        summarize_scores(scores, keep=1, labels=[0, 1, 2])
    with pytest.raises(ShapeError, match="summarize: ids must be one a sample, 4; got 3"):
        summarize_scores(scores, keep=1, ids="abc")
