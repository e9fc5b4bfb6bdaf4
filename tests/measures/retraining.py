"""Brute force: train the linearized network in its parameters, once with everyone and once for every set left out.

Shares nothing with infotorch: no kernel, no leave-one-out identity, no contour.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Problem:
    J: Tensor  # [N, C, P]
    r: Tensor  # [N, C]
    J_test: Tensor  # [M, C, P]

    @property
    def K(self) -> Tensor:
        return self.J.flatten(0, 1) @ self.J.flatten(0, 1).mT

    @property
    def K_test(self) -> Tensor:
        return self.J_test.flatten(0, 1) @ self.J.flatten(0, 1).mT


def make_problem(N: int, C: int, P: int, M: int, rng: torch.Generator) -> Problem:
    J, r, J_test = (torch.randn(*shape, generator=rng).double() for shape in ((N, C, P), (N, C), (M, C, P)))
    return Problem(J=J / P**0.5, r=r, J_test=J_test / P**0.5)


def flow(J: Tensor, r: Tensor, *, ridge: float, time: float) -> Tensor:
    """Gradient flow on the rows given, by the singular values of their Jacobian; [P]."""
    U, s, Vh = torch.linalg.svd(J.flatten(0, 1), full_matrices=False)
    a = s.square() + ridge
    h = 1 / a if time == math.inf else -torch.expm1(-time * a) / a
    return Vh.mT @ (h * s * (U.mT @ r.flatten()))


def descent(J: Tensor, r: Tensor, *, ridge: float, lr: float, steps: int) -> Tensor:
    """Gradient descent, step by step; [P]."""
    J, r = J.flatten(0, 1), r.flatten()
    d = torch.zeros(J.shape[1], dtype=J.dtype)
    for _ in range(steps):
        d = d + lr * (J.mT @ (r - J @ d) - ridge * d)
    return d


@dataclass(frozen=True, kw_only=True)
class Truth:
    weights: Tensor  # [sets]
    functions: Tensor  # [sets]
    change_test: Tensor  # [sets, M, C]
    own: list[Tensor]  # J_g d_without, [|g|, C] each


def retrain(problem: Problem, sets: list[list[int]], train, full: dict, without: dict) -> Truth:
    """Differences between ``train`` without each set and with everyone, sigma = 1."""
    d = train(problem.J, problem.r, **full)
    J_test, N = problem.J_test, len(problem.r)
    weights, functions, changes, own = [], [], [], []
    for gone in sets:
        kept = [i for i in range(N) if i not in gone]
        d_without = train(problem.J[kept], problem.r[kept], **without)
        change = J_test @ (d_without - d)  # [M, C]
        weights.append((d_without - d).square().sum() / 2)
        functions.append(change.square().sum() / (2 * len(J_test)))
        changes.append(change)
        own.append(problem.J[gone] @ d_without)
    return Truth(
        weights=torch.stack(weights), functions=torch.stack(functions), change_test=torch.stack(changes), own=own
    )


def each_alone(N: int) -> list[list[int]]:
    return [[i] for i in range(N)]
