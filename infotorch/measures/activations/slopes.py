"""How a layer's noise changes with the input, for the covariance's part of the Fisher information about it."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from infotorch.blocks.layout import flattened, split
from infotorch.measures.activations.noise import WeightNoise
from infotorch.task import Task

__all__ = ["covariance_slopes"]


def covariance_slopes(task: Task, x: Tensor, noise: WeightNoise) -> Tensor:
    r"""Derivatives of Sigma_z in the input, :math:`\partial_a (J_w \Sigma_w J_w^\top)`, float64 [N, D, D, I].

    Sample by sample, with D backwards and D² of these differentiated again. That is autograd's plain double backward:
    second derivatives of layer norm by torch.func are wrong (torch 2.13).

    Args:
        task: Its outputs are the layer's, [N, D].
        x: Inputs [N, ...].
        noise: Of the weights.
    """
    parameters = task.parameters()
    slopes = []
    for n in range(len(x)):
        x_n = x[n : n + 1].detach().requires_grad_()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no double backward
            z = task.outputs(x_n.clone())[0]
            rows = [_gradient(z_i, parameters) for z_i in z]
        J = torch.stack([flattened(row, noise.shapes) for row in rows]).detach().double()  # [D, P]
        noisy = split(noise.times(J.mT).mT, noise.shapes)  # {name: [D, *shape]}
        mixed = torch.stack([_derivatives(row, noisy, x_n) for row in rows])  # [D, D, I]
        slopes.append(mixed + mixed.transpose(0, 1))
    return torch.stack(slopes)


def _gradient(z_i: Tensor, parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    """{name: [*shape]}, to be differentiated again."""
    if z_i.grad_fn is None:
        return {name: torch.zeros_like(p) for name, p in parameters.items()}
    grads = torch.autograd.grad(
        z_i, list(parameters.values()), create_graph=True, materialize_grads=True, allow_unused=True
    )
    return dict(zip(parameters, grads, strict=True))


def _derivatives(row: dict[str, Tensor], noisy: dict[str, Tensor], x: Tensor) -> Tensor:
    """Derivatives in x of the products of one Jacobian row with fixed ones, float64 [D, I]."""
    live = [name for name, g in row.items() if g.grad_fn is not None]
    D = len(next(iter(noisy.values())))
    result = torch.zeros(D, x.numel(), dtype=torch.float64, device=x.device)
    if not live:
        return result
    outputs = [row[name] for name in live]
    for d in range(D):
        along = [noisy[name][d].to(row[name]) for name in live]
        (grad,) = torch.autograd.grad(outputs, x, along, retain_graph=True, materialize_grads=True, allow_unused=True)
        result[d] = grad.flatten()
    return result
