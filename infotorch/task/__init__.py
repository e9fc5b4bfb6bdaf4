"""What is asked about: a model, its loss, the chosen parameters, and the data that come in."""

from infotorch.task.factor import softmax_factor
from infotorch.task.losses import LOSSES, Generative, Loss
from infotorch.task.nest import mapped, num_samples, select, tensors_of
from infotorch.task.task import Task

__all__ = ["LOSSES", "Generative", "Loss", "Task", "mapped", "num_samples", "select", "softmax_factor", "tensors_of"]
