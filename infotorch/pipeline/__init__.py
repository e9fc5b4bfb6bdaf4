"""From a task and its data to a run: samples scored, at checkpoints too, a network trained, bounds; what to keep."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.checkpoints import score_checkpoints
from infotorch.pipeline.comparison import Comparison, compare_summary
from infotorch.pipeline.complexity import complexity_along
from infotorch.pipeline.fidelity_curve import FidelityCurve, fidelity_curve, keep_fidelity_curve
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.planning import ScorePlan, score_plan
from infotorch.pipeline.retraining import retrain_accuracy
from infotorch.pipeline.scoring import score
from infotorch.pipeline.summarizing import Summary, summarize, summarize_scores
from infotorch.pipeline.trajectory import Trajectory

__all__ = [
    "Comparison",
    "FidelityCurve",
    "ScorePlan",
    "Summary",
    "Trajectory",
    "attribution",
    "compare_summary",
    "complexity_along",
    "fidelity_curve",
    "keep_bounds",
    "keep_fidelity_curve",
    "retrain_accuracy",
    "score",
    "score_checkpoints",
    "score_plan",
    "summarize",
    "summarize_scores",
    "train_limit",
]
