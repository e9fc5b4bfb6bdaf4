import torch

from infotorch.task import num_samples, select


def test_samples_are_selected_in_their_nest():
    x = {"ids": torch.arange(6).view(3, 2), "rest": (torch.arange(3), [torch.ones(3, 1)])}
    few = select(x, slice(1, 3))
    assert num_samples(few) == 2 and few["rest"][0].tolist() == [1, 2] and few["rest"][1][0].shape == (2, 1)
