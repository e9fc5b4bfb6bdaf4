"""From a task and its data to a run: samples scored, a network trained, bounds kept; attribution to test outputs."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.planning import ScorePlan, score_plan
from infotorch.pipeline.scoring import score

__all__ = ["ScorePlan", "attribution", "keep_bounds", "score", "score_plan", "train_limit"]
