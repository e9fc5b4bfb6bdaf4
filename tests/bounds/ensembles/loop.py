"""The oracle of the ensembles: ordinary modules, trained one at a time by torch.optim."""

import copy

import torch
import torch.nn.functional as F

from infotorch.bounds.ensembles.ensemble import order_generator


def train(network, x, y, cell, *, epochs, batch_size, optimizer, lr, momentum=0.0, checkpoints=()):
    """Logits of the whole pool, [T, N, C], after each of the checkpoints, in x's dtype."""
    rows, seed = torch.as_tensor(cell[0]), cell[1]
    network = copy.deepcopy(network).to(x.dtype)
    adam = optimizer == "adam"
    optimizer = (
        torch.optim.Adam(network.parameters(), lr)
        if adam
        else torch.optim.SGD(network.parameters(), lr, momentum=momentum)
    )
    generator = order_generator(seed)
    out = []
    for epoch in range(1, epochs + 1):
        n = len(rows)
        order = torch.arange(n) if n <= batch_size else torch.randperm(n, generator=generator)
        network.train()
        for part in rows[order].split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(network(x[part]), y[part]).backward()
            optimizer.step()
        if epoch in (checkpoints or [epochs]):
            with torch.no_grad():
                out.append(network.eval()(x))
    return torch.stack(out)
