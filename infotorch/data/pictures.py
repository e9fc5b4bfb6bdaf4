"""Small pictures of samples, for people to look at."""

import numpy as np
import torch
from torch import Tensor

from infotorch.data.samples import chunks


def pictures_of(x: Tensor, span: tuple[float, float] | None = None) -> np.ndarray | None:
    """Inputs shaped like pictures, as bytes.

    The smallest and the largest number of the whole data set become 0 and 255, so inputs that were standardized by
    channel have shifted colors.

    Args:
        x: Inputs, [N, 1, H, W] or [N, 3, H, W] with H and W at least 4, any real dtype.
        span: The two numbers, where ``x`` is a part of the data set.

    Returns:
        uint8 [N, H, W] or [N, H, W, 3]; ``None`` where ``x`` has another shape.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 4:
        return None
    x = x.detach().cpu()
    if x.dtype != torch.uint8:
        low, high = (float(x.min()), float(x.max())) if span is None else span
        width = high - low if high > low else 1.0
        scaled = torch.empty(x.shape, dtype=torch.uint8)
        for rows in chunks(len(x), x[0].numel()):
            scaled[rows] = ((x[rows].double() - low) * (255 / width)).round().to(torch.uint8)
        x = scaled
    channels_last = x.permute(0, 2, 3, 1)
    return np.ascontiguousarray((channels_last if x.shape[1] == 3 else channels_last[..., 0]).numpy())


def thumbnails(images: np.ndarray, longest: int = 64) -> np.ndarray:
    """Pictures with at most ``longest`` pixels on the long edge: means over square blocks of pixels.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3].
        longest: Pixels on the long edge.

    Returns:
        uint8 [N, h, w] or [N, h, w, 3]; ``images`` itself where they are small enough. Blocks over the edge repeat the
        last row or column.
    """
    N, H, W = images.shape[:3]
    size = -(-max(H, W) // longest)
    if size <= 1:
        return images
    edges = [(0, 0), (0, -H % size), (0, -W % size)] + [(0, 0)] * (images.ndim - 3)
    images = np.pad(images, edges, mode="edge")
    h, w = images.shape[1] // size, images.shape[2] // size
    total = images.reshape(N, h, size, w, size, *images.shape[3:]).sum(axis=(2, 4), dtype=np.uint32)
    return ((total + size * size // 2) // (size * size)).astype(np.uint8)
