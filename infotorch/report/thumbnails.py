"""Pictures of samples as data URIs, within the size that one page may have; and which pictures are alike."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from infotorch.errors import require

__all__ = ["Thumbnails", "data_uri", "nearest", "thumbnails"]

SIDES = (96, 64, 48, 32, 24, 16)  # pixels; the first that fits is taken
FIRST_BYTES, REST_BYTES = 700_000, 2_300_000  # of base64
NEAREST_SIDE, NUM_NEAREST, NEAREST_ROWS = 16, 4, 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Data URIs by position, and what was done to make them fit."""

    uris: dict[int, str]
    side: int | None
    """Pixels of the longer side that most pictures were reduced to; None where none was."""
    left_out: int
    """Samples whose picture did not fit."""


def data_uri(pixels: np.ndarray, side: int) -> str:
    """A PNG of uint8 [H, W], [H, W, 3] or [H, W, 4], re-encoded, with its longer side at most ``side`` pixels."""
    picture = require("report", "PIL.Image", "report").fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnails(images: Sequence[np.ndarray | None], order: Sequence[int], first: int) -> Thumbnails:
    """Pictures of ``images``: the first of ``order`` as large as fits their share, the others as large as fits theirs.

    Args:
        images: Uint8 pixels by position; None where a sample has no picture.
        order: Positions, those that matter most first.
        first: How many of them have a share of their own.
    """
    order = [i for i in order if images[i] is not None]
    uris, _ = _fitted(images, order[:first], FIRST_BYTES)
    rest, side = _fitted(images, order[first:], REST_BYTES)
    uris |= rest
    return Thumbnails(uris=uris, side=side, left_out=len(order) - len(uris))


def _fitted(images: Sequence[np.ndarray | None], order: Sequence[int], limit: int) -> tuple[dict[int, str], int | None]:
    longest = max((max(pixels.shape[:2]) for i in order if (pixels := images[i]) is not None), default=0)
    uris: dict[int, str] = {}
    some = order[:: max(1, len(order) // 40)]
    for side in SIDES:
        if side > max(longest, SIDES[-1]) and side != SIDES[0]:
            continue  # equal to the size before
        if side != SIDES[-1] and len(order) * _mean_size(images, some, side) > 1.1 * limit:
            continue  # too large by far, so not even tried
        uris, used = {}, 0
        for i in order:
            pixels = images[i]
            assert pixels is not None
            uri = data_uri(pixels, side)
            used += len(uri)
            if used > limit:
                break
            uris[i] = uri
        else:
            return uris, side if side < longest else None
    return uris, SIDES[-1]


def _mean_size(images: Sequence[np.ndarray | None], order: Sequence[int], side: int) -> float:
    sizes = [len(data_uri(pixels, side)) for i in order if (pixels := images[i]) is not None]
    return sum(sizes) / max(1, len(sizes))


def nearest(images: Sequence[np.ndarray | None]) -> dict[int, list[tuple[int, float]]]:
    """For each picture the positions of those that differ least, nearest first, and by how much.

    Returns:
        The root of the mean squared difference of pixels, 0..255, between pictures reduced to 16 by 16 pixels or
        less; nothing where pictures differ in size, or are more than 5,000 or less than two.
    """
    positions = [i for i, pixels in enumerate(images) if pixels is not None]
    shapes = {pixels.shape for pixels in images if pixels is not None}
    if len(shapes) != 1 or not 2 <= len(positions) <= NEAREST_ROWS:
        return {}
    flat = np.stack([_reduced(images[i]) for i in positions]).astype(np.float64)  # [N, pixels]
    square = (flat**2).sum(1)
    found = {}
    near = min(NUM_NEAREST, len(positions) - 1)
    for start in range(0, len(flat), 512):
        rows = slice(start, start + 512)
        distance = square[rows, None] + square[None] - 2 * flat[rows] @ flat.T  # [512, N]
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :near]
        values = np.sqrt(np.maximum(np.take_along_axis(distance, order, 1), 0) / flat.shape[1])
        for n in own:
            pairs = zip(order[n], values[n], strict=True)
            found[positions[start + n]] = [(positions[j], float(d)) for j, d in pairs]
    return found


def _reduced(pixels: np.ndarray | None) -> np.ndarray:
    """[pixels], the picture as means of blocks, at most 16 by 16 of them."""
    assert pixels is not None
    step = max(1, -(-max(pixels.shape[:2]) // NEAREST_SIDE))
    H, W = (max(1, size // step) for size in pixels.shape[:2])
    sh, sw = pixels.shape[0] // H, pixels.shape[1] // W
    blocks = pixels[: H * sh, : W * sw].reshape(H, sh, W, sw, -1)
    return blocks.astype(np.float64).mean(axis=(1, 3)).ravel()
