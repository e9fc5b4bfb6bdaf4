"""One cell of a sweep: labels, initial weights and what is told of a failure."""

import dataclasses

import pytest
import torch
from torch import nn

from infotorch import ConfigError
from infotorch.bounds.grids.cells import Failure
from infotorch.pipeline.sweep_cells import SweepCell, SweepWork, drawn_anew
from infotorch.train import fit_variational, variational


def work(**changes):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=g)
    torch.manual_seed(1)
    options = {
        "model": nn.Linear(3, 2), "loss": "cross_entropy", "x": x, "y": (x[:, 0] > 0).long(), "test": None,
        "num_classes": 2, "fresh": False, "wrapping": {"prior_var": 0.5, "granularity": "weight", "noise": "weight"},
        "fitting": {"steps": 40, "batch_size": None, "lr": 0.05, "num_draws": 4}, "threads": 1,
    }  # fmt: skip
    return SweepWork(**options | changes)


CELL = SweepCell(corruption=0.0, beta=0.5, seed=3)


def test_a_cell_is_the_training_that_it_names():
    done = work()(CELL)
    q = variational(work().model, prior_var=0.5)
    fit = fit_variational(q, (work().x, work().y), beta=0.5, seed=3, **work().fitting)
    row = done.row
    assert (row.beta, row.corruption, row.seed, row.test_acc) == (0.5, 0.0, 3, None)
    assert (row.noisy_ce, row.kl, row.c) == (fit.noisy_loss / 60, fit.kl / 60, fit.lagrangian / 60)
    assert row.train_acc == fit.train_accuracy and done.seconds > 0


def test_a_cell_is_the_same_bits_again_whatever_ran_before():
    torch.manual_seed(5)
    first = work(fresh=True)(CELL).row
    torch.randn(7)
    assert work(fresh=True)(CELL).row == first
    assert work(fresh=True)(dataclasses.replace(CELL, seed=4)).row != first


def test_random_labels_are_not_learnt_and_test_labels_are_the_given_ones():
    given = work()
    test = (given.x, given.y)
    true = work(test=test)(dataclasses.replace(CELL, beta=0.01)).row
    random = work(test=test)(dataclasses.replace(CELL, beta=0.01, corruption=1.0)).row
    assert true.train_acc == pytest.approx(true.test_acc, abs=0.1) and true.train_acc > 0.85
    assert random.test_acc < 0.75 and random.train_acc < 0.85


def test_an_error_is_told_and_not_raised():
    found = work(num_classes=1)(dataclasses.replace(CELL, corruption=0.5))
    assert isinstance(found, Failure) and "num_classes must be at least 2" in found.reason


def test_new_weights_come_from_the_layers_own_rules():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.MultiheadAttention(4, 2))
    torch.manual_seed(0)
    first = drawn_anew(model)
    torch.manual_seed(0)
    second = drawn_anew(model)
    names = ("0.weight", "0.bias", "2.in_proj_weight")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(torch.equal(first.get_parameter(name), model.get_parameter(name)) for name in names)

    model[1].requires_grad_(False).weight.data.fill_(3.0)
    model[1].running_mean.fill_(0.25)
    model[2].out_proj.requires_grad_(False).bias.data.fill_(4.0)
    third = drawn_anew(model)
    for name in ("1.weight", "1.running_mean", "2.out_proj.weight", "2.out_proj.bias"):
        assert torch.equal(third.state_dict()[name], model.state_dict()[name])
    assert not any(torch.equal(third.get_parameter(name), model.get_parameter(name)) for name in names)
    model[0].bias.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"must be all trained or all frozen .* got both in '0' \(Linear\)"):
        drawn_anew(model)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

    with pytest.raises(ConfigError, match=r"sweep_beta: every layer must have reset_parameters\(\) .* in '0' \(Own\)"):
        drawn_anew(nn.Sequential(Own()))
