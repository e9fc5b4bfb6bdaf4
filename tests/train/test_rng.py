"""Every generator is put back to where it was."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from infotorch.train.rng import device_states, generators_of, restore, restore_device, seeded, states, unchanged


def draws(generator):
    return (
        torch.rand(3).tolist(),
        np.random.rand(3).tolist(),
        random.random(),
        torch.rand(3, generator=generator).tolist(),
    )


def test_all_generators_go_back(tmp_path):
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(range(8), 4, shuffle=True, generator=generator)
    np.random.normal()  # half of a pair of normals waits
    torch.save(states(loader), tmp_path / "a")
    first, order = draws(generator), list(map(list, loader))
    restore(torch.load(tmp_path / "a", weights_only=True), loader)
    assert draws(generator) == first and list(map(list, loader)) == order
    restore(torch.load(tmp_path / "a", weights_only=True))
    assert draws(generator)[:3] == first[:3]


def test_a_loader_s_generators_are_each_found_once():
    one, two = torch.Generator(), torch.Generator()
    assert generators_of(DataLoader(range(4), shuffle=True, generator=one)) == [one]
    sampler = RandomSampler(range(4), generator=two)
    assert generators_of(DataLoader(range(4), sampler=sampler, generator=one)) == [one, two]
    assert generators_of([1, 2]) == generators_of(None) == []


def test_what_draws_inside_changes_nothing_outside():
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(range(8), 4, shuffle=True, generator=generator)
    saved = states(loader)
    first = draws(generator)
    restore(saved, loader)
    with pytest.raises(KeyError), unchanged(loader):
        draws(generator)
        raise KeyError
    assert draws(generator) == first


def test_draws_by_a_seed_are_the_same_and_change_nothing_outside():
    saved, inside = states(), []
    first = torch.rand(3).tolist()
    restore(saved)
    for _ in range(2):
        with seeded(7):
            inside.append(torch.rand(3).tolist())
    assert inside[0] == inside[1] != first and torch.rand(3).tolist() == first


def test_states_of_a_device():
    before = device_states(torch.device("cpu"))
    first = torch.rand(2)
    restore_device(torch.device("cpu"), before)
    assert torch.equal(torch.rand(2), first)
