"""A batch through the model: every layer with a selected weight leaves a pair (a, b)."""

from infotorch.capture.captured import Capture
from infotorch.capture.layers.registered import register_layer
from infotorch.capture.layers.rule import Use
from infotorch.capture.pair import LayerPair
from infotorch.capture.plan import CapturePlan
from infotorch.capture.run import capture

__all__ = ["Capture", "CapturePlan", "LayerPair", "Use", "capture", "register_layer"]
