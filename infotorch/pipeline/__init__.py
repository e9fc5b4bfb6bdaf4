"""From a task and its data to a run: samples scored, a network trained, bounds kept; attribution; sketches checked."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.fidelity_curve import FidelityCurve, fidelity_curve, keep_fidelity_curve
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.scoring import score

__all__ = [
    "FidelityCurve",
    "attribution",
    "fidelity_curve",
    "keep_bounds",
    "keep_fidelity_curve",
    "score",
    "train_limit",
]
