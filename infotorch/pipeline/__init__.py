"""From a task and its data to a run: samples scored, a network trained, bounds kept; attribution; what to keep."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.comparison import Comparison, compare_summary
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.retraining import retrain_accuracy
from infotorch.pipeline.scoring import score
from infotorch.pipeline.summarizing import Summary, summarize, summarize_scores

__all__ = [
    "Comparison",
    "Summary",
    "attribution",
    "compare_summary",
    "keep_bounds",
    "retrain_accuracy",
    "score",
    "summarize",
    "summarize_scores",
    "train_limit",
]
