"""Ensembles of any functional module, by torch.func."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from infotorch.bounds.ensembles.ensemble import NetworkEnsemble, Optimizer
from infotorch.bounds.ensembles.initial import Network, initial_network, stacked_state
from infotorch.errors import ConfigError, NotSupported, ShapeError

__all__ = ["VmapEnsemble", "vmap_ensemble"]

Tensors = dict[str, Tensor]
RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)


@dataclass(frozen=True)
class _State:
    training: nn.Module
    """The module in train mode; its own weights are never read."""
    predicting: nn.Module
    """The module in eval mode."""
    parameters: Tensors
    buffers: Tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class VmapEnsemble(NetworkEnsemble):
    """Networks of one architecture under ``vmap``; see :func:`vmap_ensemble`."""

    module: Network = field(repr=False)
    """What draws a member."""

    name: ClassVar[str] = "vmap_ensemble"

    def _start(self, seeds: list[int]) -> tuple[_State, list[Tensor]]:
        parameters, buffers = stacked_state(self.name, self.module, seeds, self.x)
        training, predicting = (initial_network(self.name, self.module, seeds[0]) for _ in range(2))
        return _State(training.train(), predicting.eval(), parameters, buffers), list(parameters.values())

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[rows], self.y[rows]

    def _backward(self, state: _State, batch: tuple[Tensor, Tensor]) -> None:
        def loss(parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(state.training, (parameters, buffers), (x,)), y)

        for name, g in vmap(grad(loss))(state.parameters, state.buffers, *batch).items():
            state.parameters[name].grad = g

    def _predict(self, state: _State, rows: Tensor) -> Tensor:
        def outputs(parameters: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
            return functional_call(state.predicting, (parameters, buffers), (x,))

        return vmap(outputs, in_dims=(0, 0, None))(state.parameters, state.buffers, self.x[rows])


def _checked(where: str, network: nn.Module, x: Tensor) -> int:
    """The number of classes of a network that ``vmap`` trains as a loop would; ``x`` [2, *shape] is a probe.

    Raises:
        ConfigError: Nothing in the network is trained.
        NotSupported: Its forward pass in train mode draws random numbers or changes a buffer.
        ShapeError: It doesn't return one row of logits a sample.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(f"{where}: module must have parameters to train; got none. Set requires_grad.")
    for path, layer in network.named_modules():
        if isinstance(layer, RANDOM) and getattr(layer, "p", 1.0) > 0:
            raise NotSupported(
                f"{where}: module must not draw random numbers, which vmap can't draw from each cell's seed; got "
                f"{type(layer).__name__} in layer {path!r}. Set its p to 0, or train by a loop."
            )
    network = network.to(x).train()
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def output(seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            return network(x)

    first = output(0)
    if changed := [name for name, buffer in network.named_buffers() if not torch.equal(buffer, buffers[name])]:
        raise NotSupported(
            f"{where}: module must not change its buffers; got {changed[0]!r}, which its forward pass changes. "
            "Use track_running_stats=False or GroupNorm in place of batch norm's running statistics, or conv_ensemble."
        )
    if not torch.equal(first, output(1)):
        raise NotSupported(
            f"{where}: module must not draw random numbers, which vmap can't draw from each cell's seed; got outputs "
            "that differ from call to call. Take the randomness out, or train by a loop."
        )
    if first.ndim != 2 or len(first) != len(x):
        raise ShapeError(f"{where}: module must return [B, C]; got {list(first.shape)} for B = {len(x)}. Reshape it.")
    return first.shape[1]


def vmap_ensemble(
    module: Network,
    x: Tensor | np.ndarray,
    y: Tensor | np.ndarray,
    *,
    lr: float,
    momentum: float = 0.0,
    batch_size: int,
    epochs: int,
    optimizer: Optimizer = "sgd",
    device: str = "cpu",
) -> VmapEnsemble:
    """An ensemble of any module [B, *shape] -> [B, C], by ``torch.func.functional_call`` under ``vmap(grad)``.

    A module's randomness and its running statistics would be shared by the members of a stack, so both are refused.
    Batch norm without running statistics is none: it reads the batch it is given, in training and in prediction. There
    the batch is a block of 256 of the indices, so that predictions depend on which are asked together.

    Args:
        module: A module, of which each member is a copy whose layers draw their parameters anew by
            ``reset_parameters``, or a function that returns a new one; both are run under torch's generator set by the
            cell's seed. To be sent to another process, the function must be importable.
        x: Inputs of the pool, float32 or float64 [N, *shape].
        y: Their labels, integers [N] in 0..C - 1.
        lr: Learning rate.
        momentum: Of SGD.
        batch_size: Samples a step.
        epochs: Passes over the training set.
        optimizer: ``sgd`` or ``adam``.
        device: Where to train.

    Returns:
        A frozen :class:`VmapEnsemble`; calling it returns labels, its method ``logits`` what is behind. A cell's
        logits agree within 1e-5 whichever cells it is trained with.

    Raises:
        ConfigError: An option is out of range, or nothing is trained.
        DataError: x is not finite, or y holds what is no class.
        NotSupported: The module draws random numbers, changes its buffers, or can't be drawn anew.
        ShapeError: x and y differ in length, or the module doesn't return [B, C].

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 2))
        >>> fn = vmap_ensemble(net, x, y, lr=0.05, momentum=0.9, batch_size=25, epochs=20)
    """
    x = torch.as_tensor(x)
    num_classes = _checked("vmap_ensemble", initial_network("vmap_ensemble", module, 0), x[:1].expand(2, *x.shape[1:]))
    given: dict[str, Any] = {"x": x, "y": y}
    return VmapEnsemble(
        **given, module=module, num_classes=num_classes, lr=lr, momentum=momentum, batch_size=batch_size,
        epochs=epochs, optimizer=optimizer, device=device,
    )  # fmt: skip
