"""The states of all random generators that a training draws from."""

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["device_states", "generators_of", "restore", "restore_device", "seeded", "states", "unchanged"]


def generators_of(loader: Iterable[Any] | None) -> list[torch.Generator]:
    """The loader's own generators, each once."""
    places = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    places.append(getattr(places[2], "sampler", None))
    found = [generator for place in places if (generator := getattr(place, "generator", None)) is not None]
    return list({id(generator): generator for generator in found}.values())


def states(loader: Iterable[Any] | None = None) -> dict[str, Any]:
    """The states of torch (CPU and every CUDA device), NumPy, Python and the loader's generators."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), int(place), int(has_gauss), float(gauss)),
        "python": random.getstate(),
        "loader": [generator.get_state() for generator in generators_of(loader)],
    }


def restore(saved: dict[str, Any], loader: Iterable[Any] | None = None) -> None:
    """Sets all generators to what ``states`` returned."""
    torch.set_rng_state(saved["torch"])
    if saved["cuda"]:
        torch.cuda.set_rng_state_all(saved["cuda"])
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(saved["python"])
    for generator, state in zip(generators_of(loader), saved["loader"], strict=False):
        generator.set_state(state)


@contextlib.contextmanager
def unchanged(loader: Iterable[Any] | None = None) -> Iterator[None]:
    """All generators are afterwards as before: iterating over a loader draws from torch's global one, at least."""
    before = states(loader)
    try:
        yield
    finally:
        restore(before, loader)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generators begin at ``seed`` inside; all generators are afterwards as before."""
    with unchanged():
        torch.manual_seed(seed)
        yield


def device_states(device: torch.device) -> list[torch.Tensor]:
    """States that a forward pass on ``device`` draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def restore_device(device: torch.device, saved: list[torch.Tensor]) -> None:
    """Sets them to what ``device_states`` returned."""
    torch.set_rng_state(saved[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved[1], device)
