"""Image files for tests, as bytes."""

import io

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="no Pillow: it comes with the dev extra")


def file_of(pixels, kind="PNG", **options):
    """The bytes of an image file with these pixels, uint8 [H, W] or [H, W, C]."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def drawn(*shape, seed=0):
    """Random pixels, uint8."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
