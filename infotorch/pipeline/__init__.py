"""From a task and its data to a run: samples scored, or a network trained."""

from infotorch.pipeline.limit_training import train_limit
from infotorch.pipeline.scoring import score

__all__ = ["score", "train_limit"]
