"""The settings of a LIMIT training, and which networks and optimizers can be trained so."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from infotorch.errors import ConfigError, NotSupported, check_choice, check_whole
from infotorch.train.ranks import unwrapped, world_size

__all__ = [
    "LimitOptions",
    "autocast",
    "by_epoch",
    "check_apart",
    "check_networks",
    "check_optimizer",
    "check_trainable",
    "check_wrapped",
    "default_optimizer",
]

WHERE = "LimitTrainer"
CHOICES: dict[str, tuple[str | None, ...]] = {
    "q": ("gaussian", "laplace", "ce"),
    "reduction": ("mean", "sum", "reference"),
    "amp": (None, "bf16", "fp16"),
    "scores": ("ema", "last", None),
    "select": ("val_noisy", "last"),
    "check_finite": ("step", "sync"),
}


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Settings of ``LimitTrainer``, checked.

    Raises:
        ConfigError: One is unknown, out of range, or contradicts another.
    """

    where: ClassVar[str] = WHERE
    """Who asks, in errors."""

    q: Literal["gaussian", "laplace", "ce"] = "gaussian"
    """Law of the label gradient around the predicted one: the auxiliary network's loss."""
    beta: float = 1.0
    """Weight of the predicted gradient's squared norm, at least 0."""
    lam: float | None = None
    """Rate of the noise on the predicted gradient; ``None``: its mean is passed on without noise."""
    lr: float = 1e-3
    """Learning rate of the default optimizers."""
    warm_up: int = 0
    """Epochs in which the classifier doesn't move."""
    epochs: int = 100
    """Epochs in all, warm-up included."""
    reduction: Literal["mean", "sum", "reference"] = "mean"
    """How rows add up: divided by their number, not divided, or the authors' way: a sum for the classifier."""
    amp: Literal["bf16", "fp16"] | None = None
    """Precision of the networks' forward passes under autocast."""
    grad_accum: int = 1
    """Parts into which a step's batch is split."""
    clip_norm: float | None = None
    """Largest norm of each network's gradient."""
    seed: int = 0
    """Of the noise, and of whatever else a command draws."""
    scores: Literal["ema", "last"] | None = "ema"
    """Label-noise scores: with an exponential mean over epochs, of the last epoch alone, or none."""
    select: Literal["val_noisy", "last"] = "val_noisy"
    """Which epoch is the best: that of the highest accuracy on noisy validation labels, or the last."""
    patience: int | None = None
    """Epochs without a better one after which training ends."""
    check_finite: Literal["step", "sync"] = "step"
    """When numbers are looked at: before the networks move, or besides before each back-propagation."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(self.where, name, getattr(self, name), choices)
        for name, least in (("warm_up", 0), ("epochs", 1), ("grad_accum", 1), ("patience", 1), ("seed", 0)):
            if name != "patience" or self.patience is not None:
                check_whole(self.where, name, getattr(self, name), least)
        if self.seed >= 2**63:
            raise ConfigError(f"{self.where}: seed must be below 2^63; got {self.seed}. Take it modulo 2^63.")
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"{self.where}: beta must be finite and at least 0; got {self.beta}. Correct beta.")
        for name, todo in (("lr", "Correct lr"), ("lam", "Pass None for none"), ("clip_norm", "Pass None for none")):
            value = getattr(self, name)
            if not (value is None and name != "lr") and not 0 < value < math.inf:
                raise ConfigError(f"{self.where}: {name} must be finite and above 0; got {value}. {todo}.")
        if self.lam is not None and self.q == "ce":
            raise ConfigError(f"{self.where}: lam goes with gaussian or laplace; got q='ce'. Leave lam out.")

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The precision of forward passes."""
        return autocast(self.amp, device)

    def config(self) -> dict[str, Any]:
        """Every option, as JSON."""
        return dataclasses.asdict(self)


def autocast(amp: str | None, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast in ``"bf16"`` or ``"fp16"``; for ``None`` none."""
    if amp is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if amp == "bf16" else torch.float16)


def check_networks(classifier: nn.Module, aux: nn.Module) -> None:
    """Raises where ``LimitTrainer`` can't train the two networks side by side.

    Raises:
        ConfigError: They share a parameter, one has nothing to train, they lie on different devices, or they aren't
            wrapped in DistributedDataParallel although there are several processes.
        NotSupported: One is sharded.
    """
    check_wrapped(WHERE, "classifier", classifier)
    check_wrapped(WHERE, "aux", aux)
    check_apart(WHERE, classifier, aux)
    devices = [{p.device for p in network.parameters()} for network in (classifier, aux)]
    if devices[0] != devices[1]:
        got = " and ".join(", ".join(sorted(map(str, each))) for each in devices)
        raise ConfigError(f"{WHERE}: classifier and aux must be on one device; got {got}. Move one with .to(device).")


def check_wrapped(where: str, name: str, network: nn.Module) -> None:
    """Raises where a network is sharded, or several processes have it without DistributedDataParallel."""
    if any(kind.__module__.startswith("torch.distributed.fsdp") for kind in type(network).__mro__):
        raise NotSupported(
            f"{where}: {name} must be whole on every rank; got {type(network).__name__}. "
            "Wrap it in DistributedDataParallel."
        )
    if world_size() > 1 and not isinstance(network, DistributedDataParallel):
        raise ConfigError(
            f"{where}: {name} must be wrapped in DistributedDataParallel, as there are {world_size()} processes; "
            f"got {type(network).__name__}. Wrap it."
        )


def check_apart(where: str, classifier: nn.Module, aux: nn.Module) -> None:
    """Raises where the two networks share a parameter, or one of them has nothing to train: ``ConfigError``."""
    check_trainable(where, "classifier", classifier)
    check_trainable(where, "aux", aux)
    names = by_memory(classifier)
    for name, p in unwrapped(aux).named_parameters():
        if own := names.get(memory_of(p)):
            raise ConfigError(
                f"{where}: classifier and aux must share no parameter; got classifier.{own} = aux.{name}. "
                "Through it the labels would reach the classifier; copy that part with copy.deepcopy."
            )


def by_memory(network: nn.Module) -> dict[int, str]:
    """Its parameters' names by where their numbers lie: two parameters may lie in one place."""
    return {memory_of(p): name for name, p in unwrapped(network).named_parameters()}


def memory_of(p: Tensor) -> int:
    """Where the numbers begin, or, where there are none, the parameter itself."""
    return p.untyped_storage().data_ptr() or id(p)


def check_trainable(where: str, name: str, network: nn.Module) -> None:
    """Raises where a network has nothing to train: ``ConfigError``."""
    if not any(p.requires_grad for p in network.parameters()):
        raise ConfigError(
            f"{where}: {name} must have a trainable parameter; got none. Set requires_grad_(True) where it learns."
        )


def check_optimizer(what: str, optimizer: Optimizer, own: nn.Module, other: nn.Module, *, where: str = WHERE) -> None:
    """Raises where ``optimizer`` moves anything but its own network.

    Raises:
        ConfigError: It holds a parameter of the other network, or of neither.
    """
    network, stranger = ("classifier", "aux") if what == "optimizer" else ("aux", "classifier")
    names = {id(p): name for name, p in unwrapped(other).named_parameters()}
    known = {id(p) for p in own.parameters()}
    for p in (p for group in optimizer.param_groups for p in group["params"]):
        if id(p) in names:
            raise ConfigError(
                f"{where}: {what} must hold parameters of {network} alone; got {stranger}.{names[id(p)]}. "
                "Make an optimizer for each network."
            )
        if id(p) not in known:
            raise ConfigError(
                f"{where}: {what} must hold parameters of {network} alone; got one of neither network, "
                f"{list(p.shape)}. Make it after the networks have taken their final form."
            )


def default_optimizer(network: nn.Module, lr: float) -> Optimizer:
    """Adam on the parameters that can move, fused: one pass over them, where small networks spend a third of a step."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr, fused=all(p.is_floating_point() for p in parameters))


def by_epoch(schedulers: Sequence[LRScheduler]) -> list[LRScheduler]:
    """The schedulers, if all follow from the epoch alone.

    Raises:
        ConfigError: One doesn't.
    """
    if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in schedulers):
        raise ConfigError(
            f"{WHERE}: schedulers must follow from the epoch alone; got ReduceLROnPlateau. "
            "Step it in a loop of your own, by the entry that end_epoch returns."
        )
    return list(schedulers)
