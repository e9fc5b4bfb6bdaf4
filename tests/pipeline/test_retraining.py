"""A network trained anew is the one that a plain loop gives, and the caller's stays as it was."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError, DivergenceError, NotSupported
from infotorch.pipeline import retrain_accuracy
from infotorch.task import Task


def blobs(N, seed=0, C=3):
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(N) % C
    return torch.randn(N, 4, generator=rng) / 2 + 1.5 * F.one_hot(y, 4), y


def fresh(C=3):
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, C))


LOSSES = {
    "cross_entropy": (3, lambda f, y: F.cross_entropy(f, y), lambda f: f.argmax(1)),
    "mse": (3, lambda f, y: ((f - F.one_hot(y, 3)) ** 2).sum(1).mean() / 2, lambda f: f.argmax(1)),
    "mse of one output": (1, lambda f, y: ((f[:, 0] - y) ** 2).mean() / 2, lambda f: (f[:, 0] > 0.5).long()),
    "binary_cross_entropy": (
        1, lambda f, y: F.binary_cross_entropy_with_logits(f[:, 0], y.float()), lambda f: (f[:, 0] > 0).long(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", LOSSES)
def test_accuracy_is_that_of_a_plain_loop(name, optimizer):
    C, loss, predicted = LOSSES[name]
    loss_name = name.partition(" ")[0]
    train, test = blobs(20, 1, max(C, 2)), blobs(600, 2, max(C, 2))
    lr, epochs = 0.1, 12
    torch.manual_seed(5)
    model = fresh(C)
    step = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](model.parameters(), lr=lr)
    for _ in range(epochs):
        torch.randperm(20)
        step.zero_grad()
        loss(model(train[0]), train[1]).backward()
        step.step()
    wanted = (predicted(model(test[0])) == test[1]).double().mean().item()
    y = train[1].float() if loss_name == "binary_cross_entropy" else train[1]
    found = retrain_accuracy(
        lambda: Task(fresh(C), loss=loss_name), (train[0], y), test, epochs=epochs, lr=lr, optimizer=optimizer, seed=5
    )
    assert found == wanted and 0.6 < found < 1


def test_batches_are_of_equal_size_and_in_another_order_each_epoch():
    met = []

    def forward(model, x):
        if model.training:
            met.append(x[:, 0].int().tolist())
        return model(x)

    x = torch.arange(11.0)[:, None].expand(11, 4).contiguous()
    task = Task(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval(), forward=forward)
    retrain_accuracy(task, (x, torch.arange(11) % 2), (x, torch.arange(11) % 2), epochs=2, batch_size=5)
    assert [len(batch) for batch in met] == [4, 4, 3] * 2
    epochs = [list(itertools.chain(*met[:3])), list(itertools.chain(*met[3:]))]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs) and epochs[0] != epochs[1]


def test_a_task_given_as_it_is_starts_at_its_weights_each_time():
    task = Task(fresh().eval())
    before = copy.deepcopy(task.model.state_dict())
    torch.manual_seed(3)
    drawn = torch.get_rng_state(), np.random.get_state()[1].tolist()
    found = {retrain_accuracy(task, blobs(30), blobs(50, 1), epochs=2, lr=0.01, seed=4) for _ in range(2)}
    assert len(found) == 1 and not task.model.training
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn[0]) and np.random.get_state()[1].tolist() == drawn[1]


def test_selected_parameters_alone_are_trained():
    kept = []

    def forward(model, x):
        kept.append((model[0].weight.detach().clone(), model[2].weight.detach().clone()))
        return model(x)

    task = Task(fresh().eval(), params=["2.*"], forward=forward)
    retrain_accuracy(task, blobs(30), blobs(10, 1), epochs=3)
    assert torch.equal(kept[0][0], kept[-1][0]) and not torch.equal(kept[0][1], kept[-1][1])


def test_the_seed_draws_the_initial_weights():
    drawn = []

    def start():
        model = fresh()
        drawn.append(model[0].weight.detach().clone())
        return Task(model)

    for seed in (0, 1, 0):
        retrain_accuracy(start, blobs(12), blobs(12, 1), epochs=1, seed=seed)
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0. Choose a positive number."),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0. Choose a positive number."),
        ({"lr": 0.0}, "lr must be a finite number above 0; got 0.0. Correct lr."),
        ({"lr": float("nan")}, "lr must be a finite number above 0; got nan. Correct lr."),
        ({"optimizer": "adm"}, "optimizer must be one of 'adam', 'sgd'; got 'adm'. Did you mean 'adam'?"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        retrain_accuracy(Task(fresh()), blobs(6), blobs(6), **{"epochs": 1} | options)
    assert str(error.value) == f"retrain_accuracy: {message}"


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(DataError, match=r"test labels must be classes, whole numbers \[M\]; got torch.float32 \[6\]"):
        retrain_accuracy(Task(fresh()), blobs(6), (blobs(6)[0], torch.rand(6)), epochs=1)
    task = Task(fresh(1), loss=lambda f, y: (f[:, 0] - y) ** 2)
    with pytest.raises(NotSupported, match=r"outputs must be \[M, C\] with one number a class, or one number under"):
        retrain_accuracy(task, (blobs(6)[0], torch.rand(6)), blobs(6), epochs=1)


def test_a_training_that_diverges_is_told():
    with pytest.raises(DivergenceError, match=r"retrain_accuracy: the loss must be finite; got (nan|inf) in epoch"):
        retrain_accuracy(Task(fresh(), loss="mse"), blobs(12), blobs(6), epochs=200, lr=1e4, optimizer="sgd")
