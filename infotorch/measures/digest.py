"""Names for things that JSON can't hold: the same content has the same digest, on any device and in any process."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["digest", "digest_of_model"]


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of dtypes, shapes and bytes, in order."""
    total = hashlib.sha256()
    for tensor in tensors:
        dense = tensor.detach().cpu().contiguous()
        total.update(f"{dense.dtype}{list(dense.shape)}".encode())
        total.update(dense.reshape(-1).view(torch.uint8).numpy().data if dense.numel() else b"")
    return total.hexdigest()


def digest_of_model(model: nn.Module) -> str:
    """SHA-256 of parameters and buffers by name."""
    state = model.state_dict()
    names = torch.frombuffer(bytearray("\0".join(state).encode() + b"\0"), dtype=torch.uint8)
    return digest([names, *(value for value in state.values() if isinstance(value, Tensor))])
