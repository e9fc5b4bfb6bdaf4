r"""The scalar function of an eigenvalue that training computes: coefficient = gain(s) times rotated residual."""

import math

import torch
from torch import Tensor


def flow_gain(s: Tensor, time: float) -> Tensor:
    """:math:`(1 - e^{-ts}) / s` for s >= 0, any shape: t at s = 0, 1/s at t = inf."""
    if time == math.inf:
        return 1 / s
    return torch.where(s == 0, time, -torch.expm1(-time * s) / s.where(s != 0, 1.0))


def descent_gain(s: Tensor, lr: float, steps: float) -> Tensor:
    """:math:`(1 - (1 - lr s)^T) / s` for 0 <= lr s < 2, any shape: lr T at s = 0, 1/s at T = inf."""
    if steps == math.inf:
        return 1 / s
    x = lr * s
    small = -torch.expm1(steps * torch.log1p(-x.clamp(max=0.5)))
    power = (1 - x).abs().pow(steps) * torch.where((x > 1) & bool(steps % 2), -1.0, 1.0)
    return torch.where(s == 0, lr * steps, torch.where(x <= 0.5, small, 1 - power) / s.where(s != 0, 1.0))
