"""A part of the samples beside the moments of all."""

import torch

from infotorch.measures.leave_out import Removal, leave_out
from infotorch.measures.primal.moments import moments_of
from infotorch.measures.primal.problem import FeatureProblem
from infotorch.measures.training import Training
from tests.laws import assert_same
from tests.measures.retraining import make_problem


def test_samples_of_a_part_are_scored_as_among_all(rng):
    truth = make_problem(10, 2, 15, 4, rng)
    features, residual = truth.J.flatten(0, 1), truth.r.reshape(-1, 1)
    moments = moments_of(features[:8], residual[:8], 4) + moments_of(features[8:], residual[8:], 6)
    training = [Training(ridge=0.1, duration=3.0)]

    def squares(rows):
        problem = FeatureProblem(
            features=features[rows], residual=residual[rows], moments=moments, test_rows=truth.J_test.flatten(0, 1),
            num_test=4,
        )  # fmt: skip
        alone = Removal(rows=torch.arange(len(rows)).view(-1, 2), full=training, without=training)
        return leave_out(problem, [alone], nodes=40)

    whole, some = squares(torch.arange(20)), squares(torch.arange(6, 14))
    assert_same(some.weights, whole.weights[:, 3:7])
    assert_same(some.functions, whole.functions[:, 3:7])
    assert_same(some.own, whole.own[:, 3:7])
