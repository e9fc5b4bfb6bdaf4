r"""The time function of training as a sum of resolvents.

Weights trained for a finite time are a function :math:`h(s)` of the kernel's eigenvalues that falls smoothly. A
contour integral around the negative axis, discretised at a few nodes, writes it as

.. math:: h(s) = 2 \operatorname{Re} \sum_k q_k / (p_k + s),

uniformly for s >= 0. Every term is a converged ridge regression with the complex ridge :math:`p_k`, and for those
leaving rows out has a closed form.

Source: Weideman and Trefethen, "Parabolic and hyperbolic contours for computing the Bromwich integral" (Math. Comp.
76, 2007); the parabola's constants are those of Trefethen, Weideman and Schmelzer, "Talbot quadratures and rational
approximations" (BIT 46, 2006), section 3.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Shifts:
    r"""Poles and weights of :math:`2 \operatorname{Re} \sum_k q_k / (p_k + s)`."""

    p: Tensor
    """What is added to the eigenvalues, [S], complex128."""
    q: Tensor
    """Weights, [S], complex128."""


def limit_shifts(ridge: float) -> Shifts:
    """One real shift: 1 / (ridge + s), training to convergence."""
    return Shifts(
        p=torch.tensor([ridge + 0j], dtype=torch.complex128), q=torch.tensor([0.5 + 0j], dtype=torch.complex128)
    )


def flow_shifts(time: float, ridge: float, nodes: int) -> Shifts:
    """Shifts of :math:`(1 - e^{-t(s + ridge)}) / (s + ridge)`.

    The relative error is 3e-9 at 24 nodes, 7e-13 at 32, 1e-14 at 40.
    """
    z, c = parabola(nodes)
    return Shifts(p=z / time + ridge, q=c / z)


def descent_shifts(lr: float, steps: float, ridge: float, nodes: int) -> Shifts:
    r"""Shifts of :math:`(1 - (1 - lr (s + ridge))^T) / (s + ridge)` for T >= 16 steps and lr (s + ridge) < 1.

    The change of variable :math:`e^z = (1 - lr \zeta)^T` carries the flow's contour to descent.
    """
    z, c = parabola(nodes)
    p = torch.expm1(z / steps) / lr
    return Shifts(p=p + ridge, q=c * torch.exp(z / steps) / (lr * steps * p))


def parabola(nodes: int) -> tuple[Tensor, Tensor]:
    r"""The contour's upper half z [nodes / 2], and c with :math:`e^x = 2 \operatorname{Re} \sum_k c_k / (z_k - x)`."""
    theta = math.pi * torch.arange(1, nodes, 2, dtype=torch.float64) / nodes
    z = nodes * torch.complex(0.1309 - 0.1194 * theta.square(), 0.25 * theta)
    dz = nodes * torch.complex(-0.2388 * theta, torch.full_like(theta, 0.25))
    return z, -1j / nodes * torch.exp(z) * dz
