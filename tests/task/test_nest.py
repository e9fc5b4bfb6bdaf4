import collections

import torch
from torch import nn

from infotorch.task import Task, num_samples, select


def test_samples_are_selected_in_their_nest():
    x = {"ids": torch.arange(6).view(3, 2), "rest": (torch.arange(3), [torch.ones(3, 1)])}
    few = select(x, slice(1, 3))
    assert num_samples(few) == 2 and few["rest"][0].tolist() == [1, 2] and few["rest"][1][0].shape == (2, 1)


class Encoding(collections.UserDict):
    """As tokenizers return them: a mapping that is no dict, whose entries are attributes too."""

    def __getattr__(self, name):
        return self.data[name]


def test_nests_keep_their_kind():
    Pair = collections.namedtuple("Pair", "left right")
    few = select(Encoding(ids=torch.arange(3), both=Pair(torch.arange(3), "kept")), slice(2))
    assert few.ids.tolist() == [0, 1] and few.both.left.tolist() == [0, 1] and few.both.right == "kept"


def test_a_batch_may_be_any_mapping(rng):
    task = Task(nn.Linear(4, 3).eval(), forward=lambda model, batch: model(batch.x))
    x, y = torch.randn(5, 4, generator=rng), torch.tensor([0, 1, 2, 0, 1])
    got, labels = task.split(Encoding(x=x, labels=y))
    assert task.outputs(got).shape == (5, 3) and labels is y
