"""Networks as a cell's seed draws them, stacked."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from infotorch.bounds.ensembles.ensemble import initial_seed
from infotorch.errors import ConfigError, NotSupported

__all__ = ["Network", "initial_network", "stacked_state"]

Network: TypeAlias = nn.Module | Callable[[], nn.Module]


def initial_network(where: str, network: Network, seed: int) -> nn.Module:
    """A new network drawn from ``seed``; torch's own generator is left as it was.

    A callable is called. Of a module a copy is made, in which every layer draws its parameters anew by its
    ``reset_parameters``.

    Raises:
        ConfigError: The callable returns something else than a module.
        NotSupported: A layer of the module has parameters and no ``reset_parameters``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(initial_seed(seed))
        if not isinstance(network, nn.Module):
            made = network()
            if not isinstance(made, nn.Module):
                raise ConfigError(
                    f"{where}: network() must return a torch module; got {type(made).__name__}. Return a new one."
                )
            return made
        made = copy.deepcopy(network)
        for path, layer in made.named_modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
            elif own := [name for name, _ in layer.named_parameters(recurse=False)]:
                named = ".".join(filter(None, (path, own[0])))
                raise NotSupported(
                    f"{where}: each layer must be able to draw its parameters anew; got {named!r} in "
                    f"{type(layer).__name__}, without reset_parameters. Pass a function that returns a new network."
                )
        return made


def stacked_state(
    where: str, network: Network, seeds: Sequence[int], like: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of the seeds' networks by name, [E, *shape]; floats get the dtype and device of ``like``.

    Parameters that require no gradient are among the buffers: they stay as they are.
    """
    networks = [initial_network(where, network, seed) for seed in seeds]
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}

    def stack(name: str, owners: list[dict[str, Tensor]]) -> Tensor:
        same = torch.stack([own[name].detach() for own in owners])
        return same.to(like) if same.is_floating_point() else same.to(like.device)

    trained = [dict[str, Tensor](network.named_parameters()) for network in networks]
    for name, first in trained[0].items():
        (parameters if first.requires_grad else buffers)[name] = stack(name, trained)
    kept = [dict[str, Tensor](network.named_buffers()) for network in networks]
    for name in kept[0]:
        buffers[name] = stack(name, kept)
    return parameters, buffers
