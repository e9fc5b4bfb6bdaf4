"""What a whole training does, measures, and refuses."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.measures.label_bounds import label_info_lower
from infotorch.measures.label_info import LabelInfoMeter
from infotorch.train.noise import flip_labels, transition_matrix
from infotorch.train.scores import limit_scores
from infotorch.train.trainer import LimitTrainer
from tests.laws import assert_same_bits
from tests.train.problems import batches, mlp, networks, samples, weights


def loader(x, y, ids, size=8, seed=7):
    return DataLoader(TensorDataset(x, y, ids), size, shuffle=True, generator=torch.Generator().manual_seed(seed))


def clusters(rng, N=200):
    """Four classes far apart, two fifths of their labels wrong."""
    true = torch.arange(N) % 4
    centers = 3 * torch.randn(4, 6, generator=rng, dtype=torch.float64)
    x = centers[true] + 0.5 * torch.randn(N, 6, generator=rng, dtype=torch.float64)
    return x, true, flip_labels(true, transition_matrix("uniform", 4, 0.4), seed=3)[0]


def test_limit_sees_through_wrong_labels(rng):
    x, true, noisy = clusters(rng)
    train, val = slice(0, 120), slice(120, 200)
    ids = torch.arange(120)
    trainer = LimitTrainer(*networks(), lr=1e-2, epochs=30)
    result = trainer.fit(
        loader(x[train], noisy[train], ids), loader(x[val], noisy[val], ids[:80]), num_classes=4,
        true_labels=true[train], test_loader=[(x[val], true[val])],
    )  # fmt: skip
    wrong = int((noisy[train] != true[train]).sum())
    info = result.info
    assert info.mislabelled == wrong > 30 and info.acc_test == result.history[-1]["test_acc"] > 0.95
    assert info.memorised_count < 0.1 * wrong and info.recovered > 0.9 * wrong
    with torch.no_grad():
        predicted = trainer.classifier.eval()(x[train]).argmax(1)
    assert info.recovered == int(((predicted == true[train]) & (noisy[train] != true[train])).sum())
    assert info.acc_noisy_labels == pytest.approx(float((predicted == noisy[train]).double().mean()))
    order = np.argsort(-result.scores["limit_distance"].values)[:wrong]
    assert (noisy[train] != true[train]).numpy()[order].mean() > 0.9


@pytest.mark.slow
def test_limit_withholds_what_cross_entropy_memorises(data_folder):
    """The acceptance of benchmarks/limit in a short form: 2,000 digits, three fifths of their labels wrong."""
    mnist, training = (pytest.importorskip(f"benchmarks.limit.{name}") for name in ("mnist", "training"))
    data = mnist.noisy_data.mnist(data_folder, 0.6, 0, n_train=2000, n_val=500)
    data = dataclasses.replace(data, x_test=data.x_test[:2000], y_test=data.y_test[:2000])
    ce, limit = (
        training.trained(method, data, mnist.mlp, seed=0, epochs=15, noise=0.6) for method in ("ce", mnist.LIMIT_L)
    )
    wrong = int(data.wrong.sum())
    assert ce["mislabelled"] == limit["mislabelled"] == wrong > 1100
    assert ce["memorised"] > 0.7 * wrong and limit["memorised"] < 0.1 * wrong
    assert limit["test_last"] > 75 and limit["test_last"] > ce["test_last"] + 30
    assert limit["auroc_distance"] > 0.95 and ce["auroc_ce"] < 0.75
    assert ce["label_nats"] > 1 and limit["label_nats"] < 0.1


def test_the_history_has_an_entry_an_epoch(rng):
    x, y, ids = samples(rng)
    result = LimitTrainer(*networks(), epochs=3, warm_up=1).fit(loader(x, y, ids), [(x, y)])
    assert [entry["epoch"] for entry in result.history] == [0, 1, 2]
    assert [entry["step"] for entry in result.history] == [3, 6, 9]
    assert [entry["warm_up"] for entry in result.history] == [True, False, False]
    for entry in result.history:
        assert entry["loss"] == pytest.approx(entry["match"] + entry["pen"]) and 0 <= entry["val_acc"] <= 1
        assert entry["val_stderr"] == pytest.approx(math.sqrt(entry["val_acc"] * (1 - entry["val_acc"]) / 24))
        assert entry["test_acc"] is None
    assert result.history[0]["nats_of"] == "nll of gradients"


def test_fit_takes_the_steps_that_a_loop_takes(rng):
    batch = samples(rng)
    ends = []
    for by_hand in (True, False):
        nets = networks()
        trainer = LimitTrainer(*nets, epochs=3, warm_up=1, lam=50.0)
        if by_hand:
            for _ in range(3):
                for part in batches(*batch):
                    trainer.step(part)
                trainer.end_epoch()
        else:
            trainer.fit(batches(*batch))
        ends.append((weights(*nets), trainer.history, trainer.epoch_scores.values))
    for mine, theirs in zip(ends[0][0], ends[1][0], strict=True):
        assert_same_bits(mine, theirs)
    assert ends[0][1] == ends[1][1] and np.array_equal(ends[0][2], ends[1][2])


def test_the_best_epoch_is_that_of_noisy_validation(rng):
    x, y, ids = samples(rng)

    class Turning(nn.Module):
        """Right in the second epoch alone, as its one weight counts epochs."""

        def __init__(self):
            super().__init__()
            self.net, self.register = mlp(), nn.Parameter(torch.zeros(1).double())
            self.register_buffer("epoch", torch.zeros(()))

        def forward(self, x):
            z = self.net(x) * 0 + self.register
            return z + 9 * nn.functional.one_hot(y[: len(x)], 4) * (self.epoch == 2)

    classifier = Turning()
    trainer = LimitTrainer(classifier, mlp(1), epochs=4)
    end_epoch = trainer.end_epoch

    def counting(**found):
        entry = end_epoch(**found)
        classifier.epoch += 1
        return entry

    trainer.end_epoch = counting
    result = trainer.fit([(x, y, ids)], [(x, y)])
    accuracies = [entry["val_acc"] for entry in result.history]
    assert max(accuracies) == 1 and accuracies.index(1.0) == 2
    assert result.best_state["classifier"]["epoch"] == 2 and result.last_state["classifier"]["epoch"] == 4
    for name, network in trainer.networks.items():
        for key, value in network.state_dict().items():
            assert_same_bits(result.last_state[name][key], value)


def test_the_best_epoch_is_unknown_without_validation(rng):
    result = LimitTrainer(*networks(), epochs=1).fit(batches(*samples(rng)))
    assert result.best_state is None and result.info.aux_gap_nats is None and result.info.acc_test is None
    assert result.info.memorised_count is None and result.info.info_lower_nats is None
    last = LimitTrainer(*networks(), epochs=1, select="last").fit(batches(*samples(rng)))
    assert last.best_state is last.last_state


def test_patience_ends_a_training_that_stands_still(rng):
    x, y, ids = samples(rng)
    nets = networks()
    optimizers = [torch.optim.SGD(net.parameters(), 1e-9) for net in nets]
    trainer = LimitTrainer(*nets, optimizer=optimizers[0], aux_optimizer=optimizers[1], epochs=50, patience=3)
    assert len(trainer.fit([(x, y, ids)], [(x, y)]).history) == 4
    assert len(trainer.fit([(x, y, ids)], [(x, y)]).history) == 4  # and doesn't go on when asked again


def test_patience_and_the_best_epoch_begin_after_warm_up(rng):
    x, y, ids = samples(rng)
    trainer = LimitTrainer(*networks(), lr=1e-9, epochs=50, patience=2, warm_up=5)
    result = trainer.fit([(x, y, ids)], [(x, y)])
    assert len(result.history) == 8 and trainer.best["epoch"] == 5


def test_sequences_of_several_lengths(rng):
    """Batches [N, T] of tokens, each padded to its own T."""
    data = []
    for k, T in enumerate((5, 3)):
        x, y, _ = samples(rng, N=4 * T)
        y[0] = -100
        data.append((x.view(4, T, 6), y.view(4, T), torch.arange(4) + 4 * k))
    trainer = LimitTrainer(*networks(), epochs=1)
    result = trainer.fit(data)
    right = sum(int((trainer.classifier(x).argmax(-1) == y).sum()) for x, y, _ in data)
    assert result.info.acc_noisy_labels == right / 30 and len(result.scores) == 8


def test_what_is_measured_on_is_checked(rng):
    x, y, ids = samples(rng)
    bad, spoilt = torch.where(ids == 5, 9, y), x.clone()
    spoilt[7] = torch.nan
    for val, says in (
        ((x, bad), r"labels must lie in 0\.\.3 or equal -100; got 9 at row 5"),
        ((spoilt, y), "got nan at row 7"),
    ):
        with pytest.raises(DataError, match=says):
            LimitTrainer(*networks(), epochs=1).fit([(x, y, ids)], [val])
    with pytest.raises(DataError, match="limit_scores: labels must lie in"):
        limit_scores(networks()[1], [(x, bad, ids)])


def test_a_checkpoint_that_is_there_is_not_lost(rng, tmp_path):
    data = [samples(rng)]
    LimitTrainer(*networks(), epochs=1).fit(data, checkpoint=tmp_path / "a.pt")
    with pytest.raises(StoreError, match=r"checkpoint must be a new file, .* got .*a\.pt, which is there. Call load"):
        LimitTrainer(*networks(), epochs=2).fit(data, checkpoint=tmp_path / "a.pt")
    again = LimitTrainer(*networks(), epochs=2)
    again.load(tmp_path / "a.pt")
    assert len(again.fit(data, checkpoint=tmp_path / "a.pt").history) == 2


def test_labels_of_any_whole_number_type(rng):
    x, y, ids = samples(rng)
    ends = []
    for labels in (y, y.int(), y.to(torch.uint8)):
        trainer = LimitTrainer(*networks())
        trainer.step((x, labels, ids))
        ends.append(weights(*trainer.networks.values()))
    assert all(torch.equal(a, b) for end in ends[1:] for a, b in zip(ends[0], end, strict=True))


def test_a_result_is_short_to_print(rng):
    x, y, ids = samples(rng)
    assert len(repr(LimitTrainer(*networks(), epochs=1).fit([(x, y, ids)]))) < 1500


def test_samples_that_an_epoch_drops_are_measured_all_the_same(rng):
    x, y, ids = samples(rng, N=22)
    data = torch.utils.data.TensorDataset(x, y, ids)
    dropping = torch.utils.data.DataLoader(data, 8, shuffle=True, drop_last=True)
    trainer = LimitTrainer(*networks(), epochs=1, scores="last")
    result = trainer.fit(dropping, true_labels=y)
    assert result.scores.index.tolist() == list(range(22))
    sampler = torch.utils.data.WeightedRandomSampler(torch.ones(22), 22, replacement=False)
    chosen = torch.utils.data.DataLoader(data, 8, sampler=sampler, drop_last=True)
    with pytest.raises(ConfigError, match="train_loader must hold every sample, to measure on; got drop_last=True"):
        LimitTrainer(*networks(), epochs=1).fit(chosen)


def test_scores_are_those_of_the_last_auxiliary(rng):
    x, y, ids = samples(rng)
    trainer = LimitTrainer(*networks(dropout=0.5), epochs=2)
    result = trainer.fit(loader(x, y, 3 * ids))
    table = limit_scores(trainer.aux, [(x, y, 3 * ids)])
    for name in ("limit_distance", "limit_xent", "limit_margin"):
        assert np.abs(result.scores[name].values - table[name].values).max() < 1e-12
    assert result.scores.main == "limit_ema" and result.scores.ids.tolist() == list(range(0, 72, 3))
    last = LimitTrainer(*networks(), epochs=2, scores="last").fit(loader(x, y, ids)).scores
    assert last.main == "limit_distance" and "limit_ema" not in last.columns
    assert LimitTrainer(*networks(), epochs=1, scores=None).fit([(x, y)]).scores is None


def test_the_mean_over_epochs_weighs_each_by_four_fifths(rng):
    x, y, ids = samples(rng)
    trainer = LimitTrainer(*networks(), epochs=3, lr=0.1)
    seen = []
    step = trainer.step

    def watching(batch):
        seen.append(limit_scores(trainer.aux, [batch]).values)
        return step(batch)

    trainer.step = watching
    result = trainer.fit([(x, y, ids)])
    want = 0.8 * (0.8 * seen[0] + 0.2 * seen[1]) + 0.2 * seen[2]
    assert np.abs(result.scores["limit_ema"].values - want).max() < 1e-6


def test_numbers_of_the_labels(rng):
    x, y, ids = samples(rng)
    meter = LabelInfoMeter(4, 24, lam=5.0, label_entropy=1.2)
    trainer = LimitTrainer(*networks(), epochs=2, lam=5.0, meter=meter)
    info = trainer.fit([(x, y, ids)], [(x[:10], y[:10].roll(1))]).info
    assert info.label.num_labels == 48 and not info.label.bound and info.label.transfer_nats > 0
    assert info.info_lower_nats == label_info_lower(1 - info.acc_noisy_labels, 1.2, 4)
    trainer.aux.eval()
    with torch.no_grad():
        held, own = (nn.functional.cross_entropy(trainer.aux(a), b) for a, b in ((x[:10], y[:10].roll(1)), (x, y)))
    assert info.aux_gap_nats == pytest.approx(24 * float(held - own), rel=1e-9)
    kinds = {estimate.name: estimate.kind for estimate in info.estimates()}
    assert kinds["label information memorised by the auxiliary network"] == "estimate"
    assert kinds["label information passed by the predictor"] == "diagnostic" and "bound" not in kinds.values()


def test_measuring_leaves_generators_and_modes(rng):
    """The measurements after the last epoch draw from no generator that a training would go on with."""
    x, y, ids = samples(rng)
    trainer = LimitTrainer(*networks(dropout=0.5), epochs=1)
    data = loader(x, y, ids)
    seen = {}
    end_epoch = trainer.end_epoch

    def ending(**found):
        seen.update(torch=torch.get_rng_state(), loader=data.generator.get_state())
        return end_epoch(**found)

    trainer.end_epoch = ending
    trainer.fit(data)
    assert_same_bits(torch.get_rng_state(), seen["torch"])
    assert_same_bits(data.generator.get_state(), seen["loader"])
    assert all(module.training for network in trainer.networks.values() for module in network.modules())


def test_progress_is_a_plain_line_where_there_is_no_terminal(rng, capsys):
    x, y, ids = samples(rng)
    LimitTrainer(*networks(), epochs=2, lam=5.0).fit(batches(x, y, ids), [(x, y)], progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("LIMIT epoch 2/2: loss ")
    assert "noisy val " in lines[-1] and " nats passed on" in lines[-1]
    LimitTrainer(*networks(), epochs=1).fit(batches(x, y, ids))
    assert capsys.readouterr().err == ""


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class Endless:
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("options", "change", "error", "text"),
    [
        ({}, {"train_loader": []}, DataError, "train_loader must hold at least one batch; got none"),
        ({}, {"val_loader": []}, DataError, "val_loader must hold at least one batch; got none"),
        (
            {},
            {"val_loader": [(torch.zeros(2, 6).double(), torch.full((2,), -100))]},
            DataError,
            "must hold labels; got n",
        ),
        ({}, {"train_loader": Endless()}, DataError, "train_loader must have a length; got .*'Endless'"),
        ({}, {"train_loader": DataLoader(Stream())}, DataError, r"train_loader must have a length; got .*'Stream'"),
        ({}, {"train_loader": "no ids"}, DataError, r"need the samples' ids; got batches without.*or pass scores=None"),
        ({"scores": None}, {"train_loader": "no ids", "true_labels": [0] * 24}, DataError, "need the samples' ids"),
        ({}, {"true_labels": [0] * 23}, DataError, "an entry for every id; got 23 for id 23. Index it by id"),
        ({}, {"num_classes": 5}, ConfigError, "num_classes must be the classifier's number of outputs, 4; got 5"),
        ({"patience": 2}, {}, ConfigError, "patience needs val_loader; got none"),
        ({}, {"checkpoint_every": 3}, ConfigError, "goes with checkpoint; got 3 and None"),
        ({}, {"eval_loader": "other ids"}, DataError, "eval_loader must hold samples of the training, by id"),
    ],
)
def test_refusals(options, change, error, text, rng):
    x, y, ids = samples(rng)
    loaders = {"no ids": [(x, y)], "other ids": [(x, y, ids + 100)]}
    given = {"train_loader": [(x, y, ids)], **change}
    for name in ("train_loader", "eval_loader"):
        if isinstance(given.get(name), str):
            given[name] = loaders[given[name]]
    with pytest.raises(error, match=text):
        LimitTrainer(*networks(), epochs=2, **options).fit(
            given.pop("train_loader"), given.pop("val_loader", None), **given
        )
