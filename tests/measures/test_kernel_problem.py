"""Steps of gradient descent cost less in the kernel's eigenbasis, and come to the same."""

import pytest
import torch

from infotorch.measures import kernel_problem
from infotorch.measures.eigen_steps import KernelSteps
from infotorch.measures.from_kernel import unique_information_from_kernel
from tests.laws import assert_golden
from tests.measures.retraining import make_problem


@pytest.mark.parametrize("P", [5, 40], ids=["singular kernel", "full rank"])
def test_steps_in_the_eigenbasis_are_those_with_the_kernel(P, rng, monkeypatch):
    problem = make_problem(8, 2, P, 3, rng)
    largest = float(torch.linalg.matrix_norm(problem.K, 2))
    removed = torch.arange(8) == 2
    asked = {"lr": 1.5 / largest, "lr_without": 1.6 / largest, "steps": [0, 7, 90], "ridge": 0.01, "removed": removed}
    asked |= {"return_changes": True}
    found, makes = {}, []
    monkeypatch.setattr(kernel_problem, "KernelSteps", lambda *args: makes.append(1) or KernelSteps(*args))
    for most in (16, 1000):
        monkeypatch.setattr(kernel_problem, "MOST_STEPS_BY_KERNEL", most)
        found[most] = unique_information_from_kernel(problem.K, problem.r, problem.K_test, **asked)
        assert len(makes) == 1
    for name in ("weights", "functions", "own_prediction", "change_test"):
        assert_golden(getattr(found[16], name).flatten(1), getattr(found[1000], name).flatten(1))
