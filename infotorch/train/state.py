"""A training as one dict, and back."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from infotorch.errors import StoreError
from infotorch.train import checkpoint, rng
from infotorch.train.ranks import gathered, rank, unwrapped, world_size

if TYPE_CHECKING:
    from infotorch.train.trainer import LimitTrainer

__all__ = ["copied_state", "networks_state", "refused_on_all", "save_state", "set_state", "state_of", "write_once"]

WHERE = "LimitTrainer.load_state_dict"
# What the weights follow from, besides data, networks and optimizers.
CONFIG = ("q", "beta", "lam", "seed", "reduction", "warm_up", "grad_accum", "clip_norm", "amp")


def networks_state(trainer: "LimitTrainer") -> dict[str, Any]:
    """State dicts of both networks, copied to the CPU."""
    return {name: copied_state(network) for name, network in trainer.networks.items()}


def config_of(trainer: "LimitTrainer") -> dict[str, Any]:
    """The settings that a checkpoint must share with the trainer that goes on from it."""
    return {**{name: getattr(trainer.options, name) for name in CONFIG}, "world_size": world_size()}


def state_of(trainer: "LimitTrainer") -> dict[str, Any]:
    """All that the rest of the training follows from."""
    return {
        "format": checkpoint.FORMAT,
        "config": config_of(trainer),
        **networks_state(trainer),
        "optimizer": trainer.optimizer.state_dict(),
        "aux_optimizer": trainer.aux_optimizer.state_dict(),
        "schedulers": [scheduler.state_dict() for scheduler in trainer.schedulers],
        "scaler": trainer.scaler.state_dict(),
        "epoch": trainer.epoch,
        "step": trainer.steps,
        "position": trainer.position,
        "epoch_rng": gathered(trainer.epoch_rng),
        "rng": gathered(rng.states(trainer.loader)),
        "scores": trainer.epoch_scores.state_dict(),
        "meter": None if trainer.meter is None else trainer.meter.state_dict(),
        "sums": dict(trainer.sums),
        "best": trainer.best,
        "history": [dict(entry) for entry in trainer.history],
    }


def set_state(trainer: "LimitTrainer", state: Mapping[str, Any], override: Iterable[str]) -> None:
    """Sets the trainer to where ``state`` was taken; checks all before it changes anything."""
    checkpoint.check_format(WHERE, "state", state)
    checkpoint.check_config(state["config"], config_of(trainer), override)
    own = networks_state(trainer)
    for name in trainer.networks:
        checkpoint.check_tensors(name, state[name], own[name])
    if len(state["schedulers"]) != len(trainer.schedulers):
        raise StoreError(
            f"{WHERE}: there must be as many schedulers as in the checkpoint, {len(state['schedulers'])}; got "
            f"{len(trainer.schedulers)}. Make the same ones."
        )
    optimizers = {"optimizer": trainer.optimizer, "aux_optimizer": trainer.aux_optimizer}
    for name, optimizer in optimizers.items():
        checkpoint.check_optimizer_state(WHERE, name, optimizer, state[name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state[name])
    for name, network in trainer.networks.items():
        unwrapped(network).load_state_dict(state[name])
    for scheduler, values in zip(trainer.schedulers, state["schedulers"], strict=True):
        scheduler.load_state_dict(values)
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.epoch, trainer.steps, trainer.position = state["epoch"], state["step"], state["position"]
    own_rank = rank() % len(state["rng"])
    trainer.epoch_rng, trainer.loaded_rng = state["epoch_rng"][own_rank], state["rng"][own_rank]
    rng.restore(state["rng"][own_rank])
    trainer.epoch_scores.load_state_dict(state["scores"], rank(), world_size())
    if state["meter"] is not None:
        trainer.make_meter(state["meter"]["num_classes"], state["meter"]["n_train"])
        if trainer.meter is not None:
            trainer.meter.load_state_dict(state["meter"])
    trainer.sums, trainer.best = dict(state["sums"]), state["best"]
    trainer.history = [dict(entry) for entry in state["history"]]


def save_state(trainer: "LimitTrainer", path: Path) -> None:
    """Writes the state on the first rank; a refusal is raised on all of them."""
    write_once(path, state_of(trainer))


def write_once(path: Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` on the first rank; a refusal is raised on all of them."""
    refused_on_all(lambda: checkpoint.write(path, state))


def refused_on_all(call: Callable[[], object]) -> None:
    """Calls on the first rank; a refusal is raised on all of them."""
    refusal = ""
    if rank() == 0:
        try:
            call()
        except StoreError as error:
            refusal = str(error)
    if texts := [text for text in gathered(refusal) if text]:
        raise StoreError(texts[0])


def copied_state(network: nn.Module) -> dict[str, Any]:
    """The state dict of a network without its distributed wrapper, copied to the CPU."""
    return {
        key: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for key, value in unwrapped(network).state_dict().items()
    }
