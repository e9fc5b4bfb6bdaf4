"""Memory that results are written into again and again."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Arena"]


class Arena:
    """Memory that is kept from call to call: fresh pages take several times as long to write.

    What is written lies in it until the next call with the same arena overwrites it. It grows to the largest request
    and does not shrink.

    Example:
        >>> arena = Arena()
        >>> arena.take("w", (2, 3), torch.float32).data_ptr() == arena.take("w", (1, 3), torch.float32).data_ptr()
        True
    """

    def __init__(self) -> None:
        self._flat: dict[str, Tensor] = {}

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """A contiguous tensor of ``shape``, of any content, over the memory of that name."""
        size, device = math.prod(shape), torch.device(device)
        flat = self._flat.get(name)
        if flat is None or flat.dtype != dtype or flat.device != device or flat.numel() < size:
            self._flat.pop(name, None)  # what is too small goes before its successor comes
            flat = None
            flat = self._flat[name] = torch.empty(size, dtype=dtype, device=device)
        return flat[:size].view(tuple(shape))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(flat.nbytes for flat in self._flat.values())
