"""A learner has one name in every process, and another learner another one."""

import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infotorch.bounds.ensembles.mlp_ensemble import mlp_ensemble
from infotorch.bounds.ensembles.vmap_ensemble import vmap_ensemble
from infotorch.bounds.learners.learner_digest import digest_of_learner
from infotorch.bounds.learners.sklearn_learner import sklearn_learner
from infotorch.bounds.learners.torch_learner import torch_learner
from tests.bounds.small_grids import nearest

HOUSE = pathlib.Path(__file__).parents[3]
X, Y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2


def network(width=4):
    return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))


def closing(lr, calls=(), data=None):
    def train_fn(train, seed, extra):
        calls.append(seed)
        return lambda indices: data[indices] > lr

    return train_fn


class Learner:
    def __init__(self, lr):
        self.lr, self.data, self.calls, self.me = lr, np.random.rand(5), [], self

    def __call__(self, train, seed, extra):
        return self.predict

    def predict(self, indices):
        return indices * 0

    def other(self, train, seed, extra):
        return self.predict


def mutual(width):
    def one(train, seed, extra):
        return two(train) if width else None

    def two(train):
        return one(train, 0, None)

    return one


LEARNERS = {
    "function": lambda: nearest(X, Y),
    "closure": lambda: closing(0.1, [1], X),
    "closure's option": lambda: closing(0.2, [1], X),
    "partial": lambda: functools.partial(closing(0.1), 3, extra=4),
    "partial's option": lambda: functools.partial(closing(0.1), 3, extra=5),
    "object": lambda: Learner(0.1),
    "object's option": lambda: Learner(0.2),
    "method": lambda: Learner(0.1).other,
    "mutual": lambda: mutual(1),
    "mutual's option": lambda: mutual(2),
    "torch": lambda: torch_learner(network, X, Y, epochs=2),
    "epochs": lambda: torch_learner(network, X, Y, epochs=3),
    "network": lambda: torch_learner(lambda: network(5), X, Y, epochs=2),
    "network's option": lambda: torch_learner(functools.partial(network, 5), X, Y, epochs=2),
    "optimizer": lambda: torch_learner(network, X, Y, epochs=2, optimizer=torch.optim.Adam),
    "sklearn": lambda: sklearn_learner(LogisticRegression(), X.numpy(), Y.numpy()),
    "C": lambda: sklearn_learner(LogisticRegression(C=2.0), X.numpy(), Y.numpy()),
    "pipeline": lambda: sklearn_learner(make_pipeline(StandardScaler(), LogisticRegression()), X.numpy(), Y.numpy()),
    "step": lambda: sklearn_learner(make_pipeline(StandardScaler(), LogisticRegression(C=2.0)), X.numpy(), Y.numpy()),
    "mlp": lambda: mlp_ensemble(X, Y, hidden=4, num_classes=2, lr=0.1, batch_size=5, epochs=1),
    "hidden": lambda: mlp_ensemble(X, Y, hidden=5, num_classes=2, lr=0.1, batch_size=5, epochs=1),
    "lr": lambda: mlp_ensemble(X, Y, hidden=4, num_classes=2, lr=0.2, batch_size=5, epochs=1),
    "vmap": lambda: vmap_ensemble(network, X, Y, lr=0.1, batch_size=5, epochs=1),
    "module": lambda: vmap_ensemble(network(), X, Y, lr=0.1, batch_size=5, epochs=1),
    "other module": lambda: vmap_ensemble(network(5), X, Y, lr=0.1, batch_size=5, epochs=1),
}


def digests():
    return {name: digest_of_learner(made()) for name, made in LEARNERS.items()}


def test_every_learner_has_a_name_of_its_own_which_is_the_same_in_another_process():
    found = digests()
    assert len(set(found.values())) == len(LEARNERS), found
    assert all(len(each) == 6 and int(each, 16) >= 0 for each in found.values())
    ask = "import json; from tests.bounds.learners.test_learner_digest import digests; print(json.dumps(digests()))"
    said = subprocess.run([sys.executable, "-c", ask], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == found == digests()


def test_data_and_what_is_noted_down_do_not_count():
    calls = []
    one = closing(0.1, calls, X)
    before = digest_of_learner(one)
    one([0], 7, None)
    assert calls and digest_of_learner(one) == before == digest_of_learner(closing(0.1, [], X + 1))
    thing = Learner(0.1)
    before = digest_of_learner(thing)
    thing.calls.append(3)
    assert digest_of_learner(thing) == before
    assert digest_of_learner(torch_learner(network, X, 1 - Y, epochs=2)) == digest_of_learner(LEARNERS["torch"]())


def test_the_trainers_arguments_count_but_for_those_of_a_run():
    from infotorch.bounds.learners.huggingface_learner import HuggingFaceLearner

    def made(**options):
        return digest_of_learner(
            HuggingFaceLearner(
                model_init=network, dataset=[], labels=np.zeros(0, int), options=options, data_collator=None,
                processing_class=None,
            )
        )  # fmt: skip

    assert made(learning_rate=0.1, logging_dir="a") == made(logging_dir="b", learning_rate=0.1)
    assert made(learning_rate=0.1) != made(learning_rate=0.2)


@pytest.mark.parametrize("built_in", [print, len])
def test_built_in_functions_count_by_name(built_in):
    assert digest_of_learner(built_in) != digest_of_learner(sorted)
