"""Noise of a layer's outputs in place of noise of its weights: each sample has a draw of its own.

Local: Kingma, Salimans, Welling, "Variational Dropout and the Local Reparameterization Trick" (arXiv 1506.02557).
Flipout: Wen, Vicol, Ba, Tran, Grosse (arXiv 1803.04386).
"""

import torch
from torch import Tensor, nn

from infotorch.train.variational.gaussian import factors, variances
from infotorch.train.variational.layers import NoisyLayer, applied, channel_axis

__all__ = ["flipped", "local"]


def local(module: nn.Module, layer: NoisyLayer, x: Tensor, mean: Tensor) -> Tensor:
    """Outputs drawn from their own Gaussian: variance ``layer(x^2, sigma^2) + sigma_b^2`` around ``mean`` [N, ..., O].

    The draws of a sample's positions are independent, though positions share their weights: variances are right,
    covariances between positions are lost.
    """
    if layer.granularity == "kron":
        return mean + _kron_noise(module, layer, x, mean)
    found = variances(module, layer)
    var = applied(module, x.square(), found["weight"], found.get("bias"))
    return mean + _root(var) * torch.randn_like(mean)


def _kron_noise(module: nn.Module, layer: NoisyLayer, x: Tensor, mean: Tensor) -> Tensor:
    """Covariance (x^T V x) U at every position."""
    weight = module._parameters["weight"]
    assert weight is not None
    (out, _), (into, _) = factors(module)
    rows = into.mT  # [I', I'], a filter each
    columns = weight[0].numel()
    bias = rows[:, columns] if "bias" in layer.names else None
    axis = channel_axis(module)
    projected = applied(module, x, rows[:, :columns].reshape(len(rows), *weight.shape[1:]), bias)
    scale = _root(projected.square().sum(axis, keepdim=True))
    eps = torch.randn_like(mean)
    return scale * (eps.movedim(axis, -1) @ out.mT).movedim(-1, axis)


def _root(var: Tensor) -> Tensor:
    """The square root whose gradient at 0, where an input is all 0, is 0 and not 0 times infinity."""
    there = var > 0
    return torch.where(there, var, 1).sqrt() * there


def flipped(module: nn.Module, x: Tensor, mean: Tensor, delta: dict[str, Tensor]) -> Tensor:
    """Outputs with one draw ``delta`` of the weights whose signs each sample flips by random rows and columns.

    All positions of a sample have the same weights, so it is the weights' own noise, of variance and covariance.
    """
    axis = channel_axis(module)
    batch = [len(x)] if x.dim() > -axis else []
    s, r = (_signs(tensor, batch, axis) for tensor in (x, mean))
    return mean + r * applied(module, x * s, delta["weight"], delta.get("bias"))


def _signs(like: Tensor, batch: list[int], axis: int) -> Tensor:
    """+1 or -1 for each sample and channel."""
    shape = [*batch, *[1] * (like.dim() - len(batch))]
    shape[axis] = like.shape[axis]
    return torch.randint(0, 2, shape, device=like.device).to(like.dtype) * 2 - 1
