"""Slow answers from elsewhere: torch.func on real modules. Never built from infotorch."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap


def per_sample_grads(model: nn.Module, loss, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradients {name: [N, *shape]} of ``loss(outputs, y)``, one sample at a time, by ``vmap(grad)``."""
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def one(params, x_n, y_n):
        return loss(functional_call(model, params, (x_n[None],)), y_n[None]).sum()

    return vmap(grad(one), in_dims=(None, 0, 0))(params, x, y)


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """J [N, C, P] of the outputs in ``named_parameters`` order, one ``jacrev`` a sample, nothing batched."""
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for x_n in x:
        outputs = partial(lambda x_n, p: functional_call(model, p, (x_n[None],)).reshape(-1), x_n)
        jac = jacrev(outputs)(params)  # {name: [C, *shape]}
        rows.append(torch.cat([j.flatten(1) for j in jac.values()], 1))  # [C, P]
    return torch.stack(rows)
