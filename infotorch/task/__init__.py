"""What is asked about: a model, its loss, the chosen parameters, and the data that come in."""

from infotorch.task.losses import LOSSES, Loss
from infotorch.task.nest import num_samples, select, tensors_of
from infotorch.task.task import Task

__all__ = ["LOSSES", "Loss", "Task", "num_samples", "select", "tensors_of"]
