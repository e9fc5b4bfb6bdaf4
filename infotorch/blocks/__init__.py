"""Matrices that stand on captured pairs."""

from infotorch.blocks.gram import Gram
from infotorch.blocks.kernel import ntk

__all__ = ["Gram", "ntk"]
