"""Scores that others rank samples by, to compare with unique information."""

from infotorch.measures.baselines.el2n import EL2N
from infotorch.measures.baselines.gradient_norm import GradientNorm
from infotorch.measures.baselines.label_quality import LabelQuality
from infotorch.measures.baselines.loss import SampleLoss
from infotorch.measures.baselines.margin import Margin

__all__ = ["EL2N", "GradientNorm", "LabelQuality", "Margin", "SampleLoss"]
