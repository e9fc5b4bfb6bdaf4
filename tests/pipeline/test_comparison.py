"""Kept samples against random ones: what is drawn, what is said of it, and that it says so on real digits."""

import statistics

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from infotorch import UniqueInformation
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.pipeline import Comparison, compare_summary, retrain_accuracy, summarize, summarize_scores
from infotorch.table import Column, Scores
from infotorch.task import Task

N = 12
X, Y = torch.arange(float(N))[:, None], torch.arange(N) % 3 // 2  # two of three samples are of class 0


def summary(keep=6, **options):
    column = Column(values=np.arange(float(N)), unit="1", source="test")
    scores = Scores(index=np.arange(N), columns={"score": column})
    return summarize_scores(scores, keep=keep, labels=Y.numpy(), **options)


def compared(kept, random, whole=None):
    return Comparison(kept=tuple(kept), random=tuple(random), all=tuple(whole or kept))


def test_each_repeat_trains_on_kept_on_other_random_and_on_all_samples():
    met = []

    def accuracy(samples, seed):
        met.append((samples.x[:, 0].int().tolist(), samples.y.tolist(), seed))
        return len(met) / 100

    told = []
    found = compare_summary(summary(), (X, Y), accuracy, repeats=3, seed=7, progress=lambda *all: told.append(all))
    assert [seed for *_, seed in met] == [7, 7, 7, 8, 8, 8, 9, 9, 9]
    assert all(x == list(range(6, 12)) for x, *_ in met[::3]) and all(x == list(range(12)) for x, *_ in met[2::3])
    drawn = [tuple(x) for x, *_ in met[1::3]]
    assert len(set(drawn)) == 3 and all(len(set(x)) == 6 for x in drawn)
    assert all(y == [Y[i] for i in x] for x, y, _ in met)
    assert found == Comparison(kept=(0.01, 0.04, 0.07), random=(0.02, 0.05, 0.08), all=(0.03, 0.06, 0.09))
    assert told == [("retraining", done, 9) for done in range(1, 10)]


def test_random_samples_are_as_balanced_as_the_summary():
    counts = {True: [], False: []}

    def collect(balanced):
        def accuracy(samples, seed):
            counts[balanced].append(int((samples.y == 1).sum()))
            return 0.5

        return accuracy

    for balanced in counts:
        compare_summary(summary(balanced=balanced), (X, Y), collect(balanced), repeats=20)
    assert set(counts[True][1::3]) == {2} and len(set(counts[False][1::3])) > 1


def test_every_sample_is_drawn_as_often():
    drawn = np.zeros(N)

    def accuracy(samples, seed):
        if len(samples) == 3:
            drawn[samples.x[:, 0].int()] += 1
        return 0.0

    compare_summary(summary(keep=3), (X, Y), accuracy, repeats=400)
    drawn[9:] -= 400  # the kept ones are met beside
    assert abs(drawn / 400 - 0.25).max() < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_means_have_standard_errors_and_differences_are_in_pairs():
    found = compared([0.9, 0.8, 0.7], [0.8, 0.7, 0.59]).estimates()
    assert found["kept"].value == pytest.approx(0.8) and found["kept"].stderr == pytest.approx(0.1 / 3**0.5)
    difference = found["kept less random"]
    assert difference.value == pytest.approx(0.31 / 3)
    assert difference.stderr == pytest.approx(statistics.stdev([0.1, 0.1, 0.11]) / 3**0.5)


VERDICTS = {
    "better": ([0.9, 0.92, 0.9], [0.8, 0.81, 0.8],
               "The kept samples are better to train on than as many random ones: accuracy +0.103 ± 0.003, mean of 3 "
               "repeats."),
    "worse": ([0.8, 0.81, 0.8], [0.9, 0.92, 0.9],
              "The kept samples are WORSE to train on than as many random ones: accuracy -0.103 ± 0.003, mean of 3 "
              "repeats. Keep more, score in more rounds, look for wrong labels first, or keep random samples."),
    "undecided": ([0.9, 0.7, 0.8], [0.7, 0.9, 0.7],
                  "The kept samples can't be told from as many random ones: accuracy +0.033 ± 0.120, mean of 3 "
                  "repeats. Nothing speaks for the summary here; more repeats may tell."),
}  # fmt: skip


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_is_said_as_it_is(verdict):
    kept, random, sentence = VERDICTS[verdict]
    assert compared(kept, random).verdict == verdict and str(compared(kept, random)) == sentence


def test_few_repeats_call_chance_a_difference_as_seldom_as_many():
    """Differences of mean 0: 5 % are called one, whatever the number of repeats."""
    rng = np.random.default_rng(0)
    for repeats in (2, 3, 5):
        draws = 0.5 + 0.01 * rng.standard_normal((4000, 2, repeats))
        wrong = np.mean([compared(kept, random).verdict != "undecided" for kept, random in draws])
        assert abs(wrong - 0.05) < 4 * (0.05 * 0.95 / 4000) ** 0.5, (repeats, wrong)


def test_one_repeat_decides_nothing():
    once = compared([0.9], [0.1])
    assert once.verdict == "undecided" and once.estimates()["kept"].stderr is None
    assert str(once).endswith("accuracy +0.800, mean of 1 repeat. Repeat it.")
    assert compared([0.5, 0.5], [0.5, 0.5]).verdict == "undecided"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="compare_summary: repeats must be at least 1; got 0"):
        compare_summary(summary(), (X, Y), lambda samples, seed: 0.5, repeats=0)
    with pytest.raises(DataError, match="data must be the 12 samples that were summarized; got 11 whose ids are oth"):
        compare_summary(summary(), (X[1:], Y[1:]), lambda samples, seed: 0.5)
    for value in (1.5, float("nan"), -0.1):
        with pytest.raises(NumericsError, match=r"accuracy must lie in \[0, 1\]; got .* trained on 6 samples"):
            compare_summary(summary(), (X, Y), lambda samples, seed, value=value: value)


@pytest.fixture
def one_thread():
    """Small networks train many times slower on several threads of a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_three_tenths_of_the_digits_beat_random_ones_and_a_tenth_at_once_does_not(one_thread):
    """Even or odd, as in docs/scale-results.md, smaller."""
    digits = load_digits()
    x, y = torch.from_numpy(digits.data).float() / 16, torch.from_numpy(digits.target) % 2
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split([300, 150, 1347])
    (a, b), (validation, _), test = ((x[part], y[part]) for part in rows)

    def start():
        return Task(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).eval(), loss="mse")

    def accuracy(samples, seed):
        return retrain_accuracy(start, samples, test, epochs=100, lr=5e-3, seed=seed)

    torch.manual_seed(0)
    task = start()
    measure = UniqueInformation(space="functions", test_data=validation, l2=1e-3)
    iterative = summarize(task, (a, b), keep=0.3, measure=measure, rounds=5)
    found = compare_summary(iterative, (a, b), accuracy, repeats=4)
    assert found.verdict == "better", str(found)
    once = summarize_scores(iterative.scores, keep=0.1, labels=b.numpy())
    found = compare_summary(once, (a, b), accuracy, repeats=4)
    assert found.verdict == "worse", str(found)
