from dataclasses import replace

import pytest
import torch

from infotorch.errors import ShapeError
from infotorch.measures.ensemble import ensemble
from infotorch.measures.from_kernel import unique_information_from_kernel
from tests.laws import assert_golden, assert_same
from tests.measures.golden import kernel, load


def members():
    case = load("n_ensemble")

    def outputs(weights, x):
        return torch.tanh(x @ weights["W1"].T + weights["b1"]) @ weights["W2"].T + weights["b2"]

    for init in range(3):
        weights = {name: case[name][init] for name in ("W1", "b1", "W2", "b2")}

        def jacobian(x, weights=weights):
            parts = torch.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))(weights, x)
            return torch.cat([part.flatten(2) for part in parts.values()], dim=2)

        J, J_test = jacobian(case["x"]), jacobian(case["x_test"])
        residual = case["y"] - outputs(weights, case["x"])
        yield unique_information_from_kernel(kernel(J), residual, kernel(J, J_test), ridge=0.05, time=case["tau"])


def test_golden():
    case, results = load("n_ensemble"), list(members())
    for init, result in enumerate(results):
        assert_golden(result.weights, case["si_weight"][init])
        assert_golden(result.functions, case["si_function"][init])
    got = ensemble(results)
    assert_golden(got.functions, case["mean_si_function"])
    assert_golden(got.weights, case["si_weight"].mean(0))
    assert_same(got.functions_stderr, case["si_function"].std(0) / 3**0.5)
    assert_same(got.weights_stderr, case["si_weight"].std(0) / 3**0.5)


def test_one_unreliable_network_makes_the_mean_unreliable():
    first, second, _ = members()
    doubtful = replace(second, reliable=torch.arange(12) != 7)
    assert ensemble([first, doubtful]).reliable.tolist() == [i != 7 for i in range(12)]


def test_a_network_without_test_samples_leaves_no_mean_in_functions():
    first, second, _ = members()
    got = ensemble([first, replace(second, functions=None)])
    assert got.functions is None and got.functions_stderr is None


def test_one_network_is_no_ensemble():
    first, second, _ = members()
    with pytest.raises(ShapeError, match=r"two or more results of one shape; got 1 of shapes \[\(2, 12\)\]"):
        ensemble([first])
    with pytest.raises(ShapeError, match=r"got 2 of shapes \[\(1, 12\), \(2, 12\)\]"):
        ensemble([first, replace(second, weights=second.weights[:1])])
