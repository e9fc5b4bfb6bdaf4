"""A batch through the model: every layer with a selected weight leaves a pair (a, b)."""

from infotorch.capture.pair import LayerPair
from infotorch.capture.run import Capture, capture

__all__ = ["Capture", "LayerPair", "capture"]
