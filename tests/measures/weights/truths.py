"""Plain slow truths: explicit Jacobians, and the Gaussian formulas written out."""

import torch
from torch import nn

from infotorch.task import Task


def fisher_rows(task, x):
    """R^T J [N*K, P] by one backward an output, and R by an eigendecomposition: no code of infotorch's."""
    params = list(task.parameters().values())
    outputs = task.outputs(x).flatten(1)
    N, C = outputs.shape
    J = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(f, params, retain_graph=True, materialize_grads=True)])
            for f in outputs.flatten()
        ]
    ).view(N, C, -1)
    f = outputs.detach()
    if task.loss == "cross_entropy":
        p = f.softmax(1)
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    elif task.loss == "mse":
        curvature = torch.eye(C, dtype=f.dtype).expand(N, C, C)
    else:
        p = f.sigmoid()
        curvature = (p * (1 - p))[..., None]
    values, vectors = torch.linalg.eigh(curvature)
    root = vectors * values.clamp(min=0).sqrt()[:, None]
    return (root.mT @ J.detach()).flatten(0, 1).double()


def optimum(F, beta, variance):
    """Sigma* for curvature F [P, P] and prior variances [P] or a number."""
    precision = F / beta + torch.diag(torch.ones(len(F), dtype=F.dtype) / variance)
    return torch.linalg.inv(precision)


def divergence(Sigma, offset, variance):
    """KL(N(w, Sigma) | N(w0, variance)) with offset = w - w0."""
    prior = torch.ones(len(offset), dtype=Sigma.dtype) * variance
    trace = (Sigma.diagonal() / prior).sum() + (offset.square() / prior).sum() - len(offset)
    return float(trace + prior.log().sum() - Sigma.logdet()) / 2


def objective(F, Sigma, offset, beta, variance):
    """C_beta less L(w)."""
    return float((F * Sigma).sum()) / 2 + beta * divergence(Sigma, offset, variance)


def quadratic(H, w):
    """(task, data) of a linear least-squares problem with Hessian H and minimum w."""
    values, vectors = torch.linalg.eigh(H)
    X = values.clamp(min=0).sqrt()[:, None] * vectors.mT
    model = nn.Linear(len(w), 1, bias=False).double().eval()
    nn.utils.vector_to_parameters(w, model.parameters())
    return Task(model, loss="mse"), (X, (X @ w)[:, None])


def net(rng, *, loss="cross_entropy", N=9, C=3):
    """(task, data) of a small tanh net."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng) * 0.7)
    x = torch.randn(N, 4, dtype=torch.float64, generator=rng)
    y = torch.randint(C, (N,), generator=rng)
    if loss != "cross_entropy":
        y = torch.randn(N, C, dtype=torch.float64, generator=rng)
    return Task(model, loss=loss), (x, (y > 0).double()[:, 0] if loss == "binary_cross_entropy" else y)
