"""A network's runs equal a loop by hand, follow their seed and nothing else, and are refused in words."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.bounds.ensembles.ensemble import initial_seed, order_generator
from infotorch.bounds.grids.cells import Extra
from infotorch.bounds.learners.torch_learner import torch_learner
from infotorch.errors import ConfigError, DataError, NumericsError

N, D, C = 40, 6, 3
EXTRA = Extra(k1=0, k2=0)
GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, D, generator=GENERATOR), torch.randint(C, (N,), generator=GENERATOR)
TRAIN, ALL = np.arange(0, N, 2), np.arange(N)


class Net(nn.Module):
    """With everything that differs between training and evaluation."""

    def __init__(self, outputs=C):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs)
        )

    def forward(self, x):
        return self.layers(x)


class Flat(Net):
    """One output without an axis."""

    def __init__(self):
        super().__init__(1)

    def forward(self, x):
        return self.layers(x)[:, 0]


def single():
    return Net(1)


def learner(network=Net, y=Y, **options):
    return torch_learner(network, X, y, **{"epochs": 6, "batch_size": 7, **options})


def logits_by_hand(train, seed, epochs, batch):
    """Outputs at all items after training, written as one loop; batches of equal size only."""
    torch.manual_seed(initial_seed(seed))
    net, order = Net(), order_generator(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y = X[train], Y[train]
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).reshape(-1, batch):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return net.eval()(X)


def test_a_run_is_a_loop_by_hand():
    outputs = []

    class Told(Net):
        def forward(self, x):
            found = super().forward(x)
            if not self.training:
                outputs.append(found)
            return found

    said = learner(Told, batch_size=5, predict_batch=15)(TRAIN, 2**62 + 1, EXTRA)(ALL)
    expected = logits_by_hand(TRAIN, 2**62 + 1, 6, 5)
    assert [len(each) for each in outputs] == [15, 15, 10]
    torch.testing.assert_close(torch.cat(outputs), expected, rtol=1e-6, atol=1e-6)
    assert said.dtype == np.int64 and said.tolist() == expected.argmax(1).tolist()


def test_runs_follow_their_seed_and_leave_the_generators_alone():
    torch.manual_seed(7)
    first = learner()(TRAIN, 1, EXTRA)(ALL)
    drawn = torch.rand(1)
    torch.manual_seed(8)
    again, other = learner()(TRAIN, 1, EXTRA)(ALL), learner()(TRAIN, 2, EXTRA)(ALL)
    assert first.tolist() == again.tolist() != other.tolist()
    torch.manual_seed(7)
    assert drawn == torch.rand(1)


def test_only_the_training_samples_matter():
    """Other items' inputs and labels may be anything, the predictions at the training samples stay."""
    rest = np.setdiff1d(ALL, TRAIN)
    x, y = X.clone(), Y.clone()
    x[rest], y[rest] = 1e3, 0
    changed = torch_learner(Net, x, y, epochs=6, batch_size=7)
    assert changed(TRAIN, 1, EXTRA)(TRAIN).tolist() == learner()(TRAIN, 1, EXTRA)(TRAIN).tolist()


def test_indices_are_answered_in_their_order():
    predict = learner()(TRAIN, 1, EXTRA)
    order = np.random.default_rng(0).permutation(N)
    assert predict(order).tolist() == predict(ALL)[order].tolist()


def test_a_last_batch_of_one_sample_joins_the_one_before():
    sizes = []

    class Counted(Net):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    learner(Counted, epochs=1)(TRAIN[:15], 0, EXTRA)  # 15 = 7 + 7 + 1, of which BatchNorm refuses the last
    assert sizes == [7, 8]


def test_checkpoints_are_shorter_runs():
    extra = Extra(k1=0, k2=0, checkpoints=(1, 4))
    predict = learner(optimizer=lambda p: torch.optim.SGD(p, lr=0.5))(TRAIN, 3, extra)
    alone = [
        learner(epochs=epochs, optimizer=lambda p: torch.optim.SGD(p, lr=0.5))(TRAIN, 3, EXTRA)(ALL)
        for epochs in (1, 4)
    ]
    assert predict(ALL).tolist() == np.stack(alone).tolist() == predict(ALL).tolist()
    assert alone[0].tolist() != alone[1].tolist()
    with pytest.raises(ConfigError, match=r"torch_learner: checkpoints must be at most epochs=6; got 7\. Train for"):
        learner()(TRAIN, 3, Extra(k1=0, k2=0, checkpoints=(7,)))


@pytest.mark.parametrize("network", [single, Flat], ids=["column", "flat"])
def test_one_output_is_a_logit_of_the_second_class(network):
    y = (X[:, 0] > 0).long()
    said = learner(network, y, epochs=60, optimizer=lambda p: torch.optim.Adam(p, lr=0.03))(TRAIN, 0, EXTRA)(ALL)
    assert set(said.tolist()) == {0, 1} and (said == y.numpy())[TRAIN].mean() > 0.9


def test_the_loss_is_the_one_given():
    y = X[:, 0].argsort().argsort() % C
    flipped = learner(y=y, epochs=1, loss=lambda outputs, y: -F.cross_entropy(outputs, y))(TRAIN, 0, EXTRA)(ALL)
    plain = learner(y=y, epochs=1)(TRAIN, 0, EXTRA)(ALL)
    assert plain.tolist() != flipped.tolist()


def test_learners_cross_to_other_processes():
    there = pickle.loads(pickle.dumps(torch_learner(Net, X.numpy(), Y.numpy(), epochs=6, batch_size=7)))
    assert there(TRAIN, 1, EXTRA)(ALL).tolist() == learner()(TRAIN, 1, EXTRA)(ALL).tolist()


REFUSED = {
    "a network": (lambda: learner(Net()), ConfigError, r"network must be a function .*; got Net\. Pass lambda"),
    "epochs": (lambda: learner(epochs=0), ConfigError, r"epochs must be a whole number of at least 1; got 0\. Corr"),
    "batch": (lambda: learner(batch_size=2.0), ConfigError, r"batch_size must be a whole number of .*; got 2\.0\."),
    "lengths": (lambda: learner(y=Y[1:]), DataError, r"y must be \[40\], one label for each of x; got \[39\]\. Pass"),
    "one-hot": (lambda: learner(y=F.one_hot(Y)), DataError, r"y must be \[40\], .*; got \[40, 3\]\."),
    "floats": (lambda: learner(y=Y.double()), DataError, r"y must be whole numbers; got torch\.float64\. Number"),
    "images": (
        lambda: learner(lambda: nn.Unflatten(1, (2, 3)), loss=lambda z, y: z.sum().requires_grad_(), optimizer=stuck)(
            TRAIN, 0, EXTRA)(ALL),
        ConfigError, r"outputs must be \[N, C\], \[N, 1\] or \[N\]; got \[40, 2, 3\]\. Return",
    ),
    "divergence": (
        lambda: learner(optimizer=lambda p: torch.optim.SGD(p, lr=1e30))(TRAIN, 0, EXTRA)(ALL[5:]),
        NumericsError, r"outputs must be numbers; got nan for item 5\. Lower the learning rate",
    ),
}  # fmt: skip


def stuck(parameters):
    assert not list(parameters)
    return torch.optim.SGD([torch.zeros(1)], lr=0.0)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    make, error, text = REFUSED[name]
    with pytest.raises(error, match=f"^torch_learner: .*{text}"):
        make()
