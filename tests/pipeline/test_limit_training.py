"""LIMIT as a run: rows for what was trained on, resumed to the byte, refusals before anything is written."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import store
from infotorch.data import Samples
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.pipeline import score, train_limit
from infotorch.pipeline.limit_training import select
from infotorch.task import Task
from infotorch.train import LimitTrainer, flip_labels, transition_matrix
from tests.pipeline.doubles import Sum
from tests.store.test_writer import contents

N, C = 60, 3


def net(seed, out=C, norm=False):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Tanh(), nn.Linear(8, out))


def data(seed=0, n=N, classes=C):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=rng)
    return Samples(
        x=x,
        y=x[:, :classes].argmax(1),
        ids=tuple(f"s{k}" for k in range(n)),
        label_names=tuple("abc"[:classes]),
        metadata={"source": np.arange(n) % 2},
    )


def train(out, **changes):
    options = {"noise": "uniform:0.4", "epochs": 3, "batch_size": 16, "lr": 1e-2, "progress": False, "seed": 3}
    task = changes.pop("task", None) or Task(net(0))
    aux = changes.pop("aux", None) or net(1)
    return train_limit(task, changes.pop("data", data()), aux=aux, out=out, **(options | changes))


def test_a_row_for_every_sample_that_was_trained_on(tmp_path):
    run = train(tmp_path / "a", test_data=data(1), compare=True)
    scores, samples = run.scores(), run.samples().to_pydict()
    assert len(scores) == 54 and scores.main == "limit_ema"
    assert list(scores.columns) == ["limit_ema", "limit_distance", "limit_xent", "limit_margin", "suggested_label"]
    whole = data()
    noisy, flipped = flip_labels(whole.y, transition_matrix("uniform", C, 0.4), seed=3)
    places = [int(name[1:]) for name in samples["id"]]
    assert samples["label"] == noisy[places].tolist() and samples["flipped"] == flipped[places].tolist()
    assert samples["true_label"] == ["abc"[y] for y in whole.y[places].tolist()]
    assert samples["source"] == [place % 2 for place in places]
    note = run.notes()["limit"]
    assert (
        [entry["epoch"] for entry in note["history"]] == [0, 1, 2] == [e["epoch"] for e in note["compared"]["history"]]
    )
    assert np.sum(note["confusion"]) == 54 and note["memorised"]["mislabelled"] == int(flipped[places].sum())
    assert note["num_val"] == 6 and note["history"][-1]["test_acc"] is not None
    assert note["detection"]["num_wrong"] == int(flipped[places].sum())
    store.verify(tmp_path / "a")


def test_the_training_is_the_trainers(tmp_path):
    """The same networks, batches and options in a loop of one's own give the same weights."""
    run = train(tmp_path / "a", noise=None, val_fraction=0)
    classifier, aux, whole = net(0), net(1), data()
    trainer = LimitTrainer(classifier, aux, epochs=3, lr=1e-2, seed=3, select="last")
    rng = torch.Generator().manual_seed(3)
    rows = torch.utils.data.TensorDataset(whole.x, whole.y, torch.arange(N))
    result = trainer.fit(torch.utils.data.DataLoader(rows, 16, shuffle=True, generator=rng))
    kept = torch.load(tmp_path / "a/checkpoints/last.pt", weights_only=True)
    for name, network in trainer.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(kept[name][key], value)
    assert np.array_equal(run.scores()["limit_distance"].values, result.scores["limit_distance"].values)
    note = run.notes()["limit"]
    assert note["memorised"] == {"count": None, "mislabelled": None, "recovered": None} and note["detection"] is None
    assert note["num_val"] == 0 and note["history"][-1]["val_acc"] is None


def test_networks_are_left_as_they_are(tmp_path):
    classifier, aux = net(0, norm=True).train(), net(1, norm=True)
    before = [x.clone() for network in (classifier, aux) for x in network.state_dict().values()]
    train(tmp_path / "a", task=Task(classifier), aux=aux)
    after = [x for network in (classifier, aux) for x in network.state_dict().values()]
    assert all(map(torch.equal, before, after)) and classifier.training


class Stop(Exception):
    """The process dies here."""


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_run_that_was_broken_off_has_the_bytes_of_one_that_was_not(tmp_path, monkeypatch, stop):
    train(tmp_path / "whole")
    step, steps = LimitTrainer.step, []

    def stopping(self, batch):
        if len(steps) == stop:
            raise Stop
        steps.append(batch)
        return step(self, batch)

    monkeypatch.setattr(LimitTrainer, "step", stopping)
    with pytest.raises(Stop):
        train(tmp_path / "a")
    monkeypatch.setattr(LimitTrainer, "step", step)
    assert not store.open(tmp_path / "a").finished
    train(tmp_path / "a")
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")
    assert not (tmp_path / "a/checkpoints/training.pt").exists()


def test_a_finished_run_is_read(tmp_path, monkeypatch):
    train(tmp_path / "a")
    monkeypatch.setattr(LimitTrainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert train(tmp_path / "a").finished
    with pytest.raises(StoreError, match="beta"):
        train(tmp_path / "a", beta=2.0)


def test_scores_of_another_run_stand_beside_by_id(tmp_path):
    whole = data()
    backwards = select(whole, torch.arange(N - 1, -1, -1))
    task = Task(net(0).eval())
    score(task, backwards, [Sum()], out=tmp_path / "other")
    other = store.open(tmp_path / "other").scores()["sum"].values[::-1]
    run = train(tmp_path / "a", beside=tmp_path / "other", noise=None)
    places = [int(name[1:]) for name in run.samples(["id"])["id"].to_pylist()]
    assert np.array_equal(run.scores()["sum"].values, other[places]) and run.scores().main == "limit_ema"
    fewer = select(whole, torch.tensor([k for k in range(N) if k != places[0]]))
    score(task, fewer, [Sum()], out=tmp_path / "fewer")
    with pytest.raises(DataError, match=f"must have every sample that is trained on; .* the first 's{places[0]}'"):
        train(tmp_path / "b", beside=tmp_path / "fewer", noise=None)
    with pytest.raises(DataError, match=r"must be of the same labels; got .*, where \d+ of 54 differ, the first of 's"):
        train(tmp_path / "c", beside=tmp_path / "other", noise="pair:0.4")


def test_a_single_logit(tmp_path):
    samples = data(classes=2)
    float_labels = dataclasses.replace(samples, y=samples.y.float(), label_names=None)
    task = Task(net(0, out=1), loss="binary_cross_entropy")
    runs = [
        train(tmp_path / name, task=task, aux=net(1, out=1), data=each, noise="pair:0.3")
        for name, each in (("a", samples), ("b", float_labels))
    ]
    assert np.shape(runs[0].notes()["limit"]["confusion"]) == (2, 2) and "limit_margin" in runs[0].scores().columns
    assert set(runs[0].scores()["suggested_label"].values) <= {0, 1}
    assert np.array_equal(runs[0].scores().values, runs[1].scores().values)


def test_the_tasks_own_forward(tmp_path):
    """Checkpoints have the networks' own names all the same."""
    task = Task(net(0), forward=lambda model, x: 2 * model(x))
    train(tmp_path / "a", task=task)
    kept = torch.load(tmp_path / "a/checkpoints/best.pt", weights_only=True)
    assert list(kept["classifier"]) == list(net(0).state_dict()) == list(kept["aux"])


def test_an_auxiliary_task_is_called_in_its_own_way(tmp_path):
    plain = train(tmp_path / "a").scores()
    other = train(tmp_path / "b", aux=Task(net(1), forward=lambda model, x: 2 * model(x))).scores()
    same = train(tmp_path / "c", aux=Task(net(1))).scores()
    assert np.array_equal(plain.values, same.values) and not np.array_equal(plain.values, other.values)


def test_only_the_selected_parameters_move(tmp_path):
    train(tmp_path / "a", task=Task(net(0), params=["2.*"]))
    kept = torch.load(tmp_path / "a/checkpoints/last.pt", weights_only=True)["classifier"]
    moved = [name for name, start in net(0).state_dict().items() if not torch.equal(kept[name], start)]
    assert moved == ["2.weight", "2.bias"]


def test_a_run_of_the_same_columns_is_refused_before_training(tmp_path):
    train(tmp_path / "a", val_fraction=0)
    with pytest.raises(ConfigError, match="run beside must have other columns than this one; got 'limit_ema'"):
        train(tmp_path / "b", beside=tmp_path / "a")
    assert not (tmp_path / "b").exists()


def test_a_network_that_has_learnt_nothing_is_told_of(tmp_path):
    text = train(tmp_path / "a", lr=1e-9, noise="uniform:0.6").notes()["finding"]["text"]
    assert "hardly more than by chance: train it longer" in text
    assert "chance" not in train(tmp_path / "b", noise=None, epochs=30, lr=3e-2).notes()["finding"]["text"]


def test_no_batch_is_of_one_sample(tmp_path):
    """Which BatchNorm would refuse; every sample has a score after the first epoch all the same."""
    options = {"task": Task(net(0, norm=True)), "aux": net(1, norm=True), "val_fraction": 0, "epochs": 1}
    assert len(train(tmp_path / "a", batch_size=59, **options).scores()) == N


def test_labels_given_as_noise(tmp_path):
    whole = data()
    given = (whole.y + 1) % C
    np.save(tmp_path / "given.npy", given.numpy())
    (tmp_path / "given.txt").write_text("\n".join(map(str, given.tolist())))
    runs = [
        train(tmp_path / name, noise=noise)
        for name, noise in (
            ("a", given), ("b", f"file:{tmp_path}/given.npy"), ("c", f"file:{tmp_path}/given.txt"), ("d", "pair:1")
        )
    ]  # fmt: skip
    for run in runs:
        assert run.samples(["flipped"])["flipped"].to_pylist() == [True] * 54
        assert np.array_equal(run.scores().values, runs[0].scores().values)


REFUSALS = {
    "another loss": ({"task": Task(net(0), loss="mse")}, ConfigError, "loss must be cross_entropy or binary_cross_ent"),
    "soft labels": ({"data": (torch.randn(9, 4), torch.rand(9, 3))}, DataError, r"labels must be classes, int64 \[9\]"),
    "float labels": ({"data": (torch.randn(9, 4), torch.rand(9))}, DataError, "labels must be classes"),
    "a label too many": (
        {"data": (torch.randn(9, 4), torch.full((9,), 3))}, DataError, r"labels must lie in 0..2, .* got 3 for sample 0"
    ),
    "an unknown noise": ({"noise": "unifrom:0.4"}, ConfigError, "Did you mean 'uniform'"),
    "no rate": ({"noise": "uniform"}, ConfigError, r"must be uniform:RATE with a rate in \[0, 1\]; got 'uniform'"),
    "a wrong rate": ({"noise": "pair:1.5"}, ConfigError, "with a rate in"),
    "other classes": (
        {"test_data": dataclasses.replace(data(1), label_names=("a", "c", "b"))}, DataError, "'b' as label 1; got 'c'"
    ),
    "no file": ({"noise": "file:absent.npy"}, DataError, "absent.npy must hold labels"),
    "too few labels": ({"noise": torch.zeros(5, dtype=torch.int64)}, DataError, "one whole number for each of 60"),
    "an unknown option": ({"betta": 1.0}, ConfigError, "Did you mean 'beta'"),
    "beta": ({"beta": -1.0}, ConfigError, "beta must be finite and at least 0; got -1.0"),
    "warm-up alone": ({"warm_up": 3}, ConfigError, "warm_up must be below epochs; got 3 of 3, in which the class"),
    "no validation left": ({"val_fraction": 0.001}, DataError, "must leave samples to train on and to validate with"),
    "all validation": ({"val_fraction": 1.0}, ConfigError, "val_fraction must be at least 0 and below 1; got 1.0"),
    "no batch": ({"batch_size": 0}, ConfigError, "batch_size must be at least 1"),
}  # fmt: skip


def test_refuses_an_auxiliary_with_other_outputs(tmp_path):
    with pytest.raises(ConfigError, match=r"must both return one row of logits a sample; got \[3\] and \[4\]"):
        train(tmp_path / "a", aux=net(1, out=4))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_before_anything_is_written(tmp_path, case):
    changes, kind, says = REFUSALS[case]
    with pytest.raises(kind, match=says):
        train(tmp_path / "a", **changes)
    assert not (tmp_path / "a").exists()


def test_refuses_one_network_for_both(tmp_path):
    classifier = net(0)
    with pytest.raises(
        ConfigError, match=r"classifier and aux must share no parameter; got classifier\.0\.weight = aux\.0\.weight"
    ):
        train(tmp_path / "a", task=Task(classifier), aux=nn.Sequential(*classifier))


def test_refuses_a_column_that_the_noise_needs(tmp_path):
    named = dataclasses.replace(data(), metadata={"flipped": np.zeros(N, bool)})
    with pytest.raises(DataError, match="leave flipped to the noise"):
        train(tmp_path / "a", data=named)
