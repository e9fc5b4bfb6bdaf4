"""From a task and its data to a run: samples scored (at checkpoints too), a network trained, bounds; attribution."""

from infotorch.pipeline.attribution import attribution
from infotorch.pipeline.bound_notes import keep_bounds
from infotorch.pipeline.checkpoints import score_checkpoints
from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.scoring import score
from infotorch.pipeline.trajectory import Trajectory

__all__ = ["Trajectory", "attribution", "keep_bounds", "score", "score_checkpoints", "train_limit"]
