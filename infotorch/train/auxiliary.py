"""The auxiliary network beside a training loop that belongs to another library."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from infotorch.errors import ConfigError, DataError
from infotorch.ops import LimitNoise
from infotorch.train import checkpoint
from infotorch.train.limit_gradient import limit_gradient
from infotorch.train.options import LimitOptions, check_optimizer, check_trainable, default_optimizer
from infotorch.train.ranks import share_buffers, world_size

__all__ = ["Auxiliary"]


class Auxiliary:
    """A network that predicts label gradients, its optimizer, and the step that it is in.

    A step has one or more parts: batches whose gradients add up. Its loss is the mean over the labels of all of them,
    on all ranks.

    Args:
        network: The auxiliary network.
        optimizer: Its own; default Adam.
        options: Settings; ``where`` in them is who asks, in errors.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer | None, options: LimitOptions) -> None:
        check_trainable(options.where, "aux", network)
        self.network, self.options = network, options
        self.optimizer = optimizer or default_optimizer(network, options.lr)
        check_optimizer("aux_optimizer", self.optimizer, network, nn.Identity(), where=options.where)
        self.steps = 0
        """Steps done."""
        self._labels: Tensor | None = None
        self._rows = 0
        self._unit: Tensor | None = None
        self._loss: Tensor | None = None
        self._part: Tensor | None = None

    def start(self, device: torch.device) -> None:
        """Makes ready for training on ``device``."""
        self.network.to(device).train()
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # brings its state to that device
        if world_size() > 1:
            for p in self.network.parameters():
                dist.broadcast(p.data, 0)
        self.end_step()

    def predict(
        self, logits: Tensor, aux_logits: Tensor, labels: Tensor, ids: Tensor | None, parts: int
    ) -> tuple[Tensor, Tensor]:
        """What the classifier gets in place of s - t, [..., C], and how many labels there are, int64 [].

        The loss of these labels is kept for ``backward``, in place of one that was not propagated.

        Args:
            logits: The classifier's, [..., C], or [N] of one logit.
            aux_logits: Those of the network.
            labels: As of ``limit_gradient``.
            ids: Sample ids, int64 [N], to which noise is keyed; ``None``: places in the step.
            parts: How many parts a step has.
        """
        options, noise = self.options, None
        if options.lam is not None:
            if ids is None and world_size() > 1:
                raise DataError(
                    f"{options.where}: noise in several processes needs the samples' ids; got none. Pass batch_ids=."
                )
            keys = torch.arange(self._rows, self._rows + len(logits)) if ids is None else ids
            noise = LimitNoise(seed=options.seed, step=self.steps, ids=keys.to(logits.device))
        loss, rows = limit_gradient(
            logits.detach(), aux_logits, labels, q=options.q, beta=options.beta, lam=options.lam, noise=noise,
            reduction="sum", rows=True,
        )  # fmt: skip
        self._rows += len(logits)
        self._part = rows.valid.sum()
        if self._unit is None:  # keeps gradients of half dtypes within their range, until the step's labels are counted
            self._unit = 1 / (self._part.clamp(min=1).to(loss.dtype) * parts)
        self._loss = loss * self._unit
        return (rows.inject if rows.sample is None else rows.sample), self._part

    def backward(self, scaler: torch.amp.GradScaler | None) -> None:
        """Back-propagates the loss that is kept, if one is."""
        if self._loss is None or self._part is None:
            return
        loss, self._loss = self._loss, None
        (loss if scaler is None else scaler.scale(loss)).backward()
        self._labels = self._part if self._labels is None else self._labels + self._part

    def step(self, scaler: torch.amp.GradScaler | None, clip: Callable[[list[nn.Parameter]], None]) -> None:
        """Steps the network by the gradients of the step's parts, if it had any.

        Args:
            scaler: Of fp16's losses; its ``update`` is left to whoever owns it.
            clip: Given the parameters that have a gradient.
        """
        if self._labels is None or self._unit is None:
            return
        labels = self._labels.clone()
        if world_size() > 1:
            dist.all_reduce(labels)
        factor = 1 / (self._unit * labels.clamp(min=1))
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        moving = [p for p in self.network.parameters() if p.grad is not None]
        for p in moving:
            assert p.grad is not None
            p.grad.mul_(factor.to(p.grad.dtype))
            if world_size() > 1:
                dist.all_reduce(p.grad)
        clip(moving)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
        self.steps += 1
        self.end_step()

    def forget(self) -> None:
        """Drops a loss that was not propagated."""
        self._loss = None

    def end_step(self) -> None:
        """Drops what a step has so far."""
        self.network.zero_grad(set_to_none=True)
        self._loss = self._part = self._labels = self._unit = None
        self._rows = 0

    def logits(self, *args: Any, **kwargs: Any) -> Tensor:
        """The network's logits of these inputs."""
        share_buffers(self.network)
        logits = self.network(*args, **kwargs)
        if not isinstance(logits, Tensor):
            raise ConfigError(
                f"{self.options.where}: aux must return its logits, a tensor; got {type(logits).__name__}. Wrap it in "
                "a module that returns them."
            )
        return logits

    def state_dict(self) -> dict[str, Any]:
        """The network, its optimizer, the settings that they follow from, and the step."""
        return {
            "format": self._form,
            "config": self._config,
            "aux": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``; checks all before it changes anything.

        Raises:
            ConfigError: It is that of other settings.
            StoreError: It is no such state, or that of another network.
        """
        where = f"{self.options.where}.load_state_dict"
        keys = ("format", "config", "aux", "optimizer", "step")
        checkpoint.check_format(where, "state_dict", dict(state), form=self._form, keys=keys)
        checkpoint.check_config(state["config"], self._config, None, where=where)
        checkpoint.check_tensors("aux", state["aux"], self.network.state_dict(), where=where)
        self.optimizer.load_state_dict(state["optimizer"])
        self.network.load_state_dict(state["aux"])
        self.steps = state["step"]

    @property
    def _form(self) -> str:
        return f"infotorch {self.options.where} 1"

    @property
    def _config(self) -> dict[str, Any]:
        return {name: getattr(self.options, name) for name in ("q", "beta", "lam", "seed")}
