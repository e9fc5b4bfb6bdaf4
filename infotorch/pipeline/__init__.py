"""From a task and its data to a run: samples scored, at checkpoints too, a network trained, bounds; what to keep."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.checkpoints import score_checkpoints
from infotorch.pipeline.comparison import Comparison, compare_summary
from infotorch.pipeline.complexity import complexity_along
from infotorch.pipeline.embedding import embed_tasks
from infotorch.pipeline.fidelity_curve import FidelityCurve, fidelity_curve, keep_fidelity_curve
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.planning import ScorePlan, score_plan
from infotorch.pipeline.retraining import retrain_accuracy
from infotorch.pipeline.scoring import score
from infotorch.pipeline.summarizing import Summary, summarize, summarize_scores
from infotorch.pipeline.sweeping import Sweep, SweepError, read_sweep, sweep_beta
from infotorch.pipeline.trajectory import Trajectory
from infotorch.pipeline.weighing import Weighed, weigh, weighed

__all__ = [
    "Comparison",
    "FidelityCurve",
    "ScorePlan",
    "Summary",
    "Sweep",
    "SweepError",
    "Trajectory",
    "Weighed",
    "attribution",
    "compare_summary",
    "complexity_along",
    "embed_tasks",
    "fidelity_curve",
    "keep_bounds",
    "keep_fidelity_curve",
    "read_sweep",
    "retrain_accuracy",
    "score",
    "score_checkpoints",
    "score_plan",
    "summarize",
    "summarize_scores",
    "sweep_beta",
    "train_limit",
    "weigh",
    "weighed",
]
