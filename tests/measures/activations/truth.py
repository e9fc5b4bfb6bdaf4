"""Slow answers in float64: explicit Jacobians, and the Hessian of a divergence by plain double backward."""

import torch
from torch import Tensor, nn


def jacobians(model, x: Tensor, layer=None) -> tuple[Tensor, Tensor]:
    """J_w [N, D, P] over parameters that require grad, and J_x [N, D, I], of ``layer``'s output, sample by sample."""
    weights, inputs = [], []
    parameters = [p for p in model.parameters() if p.requires_grad]
    for x_n in x:
        x_n = x_n[None].clone().requires_grad_()
        z = (model if layer is None else layer)(x_n).flatten()
        rows = [torch.autograd.grad(z_i, [*parameters, x_n], retain_graph=True, materialize_grads=True) for z_i in z]
        weights.append(torch.stack([torch.cat([g.flatten() for g in row[:-1]]) for row in rows]))
        inputs.append(torch.stack([row[-1].flatten() for row in rows]))
    return torch.stack(weights), torch.stack(inputs)


def divergence_hessian(forward, parameters: list[nn.Parameter], x: Tensor, Sigma: Tensor) -> Tensor:
    """Hessian [I, I] at e = 0 of KL(N(f(x), S(x)) || N(f(x + e), S(x + e))), S = J_w Sigma J_w^T, of one sample."""

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        z = forward(x[None]).flatten()
        options = {"create_graph": True, "materialize_grads": True}
        rows = [torch.cat([g.flatten() for g in torch.autograd.grad(z_i, parameters, **options)]) for z_i in z]
        J = torch.stack(rows)
        return z, J @ Sigma @ J.mT

    z0, S0 = (t.detach() for t in moments(x.clone().requires_grad_()))

    def divergence(e: Tensor) -> Tensor:
        z, S = moments(x + e.view_as(x))
        inverse = torch.linalg.inv(S)
        return 0.5 * ((inverse * S0.mT).sum() + (z - z0) @ inverse @ (z - z0) + torch.logdet(S) - torch.logdet(S0))

    return torch.autograd.functional.hessian(divergence, torch.zeros(x.numel(), dtype=x.dtype))


class Gaussian:
    """A posterior as any other implementation may give it."""

    def __init__(self, model: nn.Module, covariance: Tensor) -> None:
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.shapes = {name: p.shape for name, p in named.items()}
        self.mean = torch.cat([p.detach().double().flatten() for p in named.values()])
        self.Sigma = covariance

    def covariance(self) -> Tensor:
        return self.Sigma

    def times(self, V: Tensor) -> Tensor:
        return self.Sigma @ V

    def sample(self, K: int, *, seed: int) -> Tensor:
        e = torch.randn(K, len(self.mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return self.mean + e @ torch.linalg.cholesky(self.Sigma).mT


def spd(P: int, rng) -> Tensor:
    """A covariance [P, P] of full rank."""
    A = torch.randn(P, P, dtype=torch.float64, generator=rng)
    return A @ A.mT / P + 0.1 * torch.eye(P, dtype=torch.float64)
