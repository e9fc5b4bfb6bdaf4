"""Information in the weights: the cost of a Gaussian around them, and that Gaussian."""

from infotorch.measures.weights.posterior import Posterior
from infotorch.measures.weights.result import WeightsInformation
from infotorch.measures.weights.weights_information import weights_information

__all__ = ["Posterior", "WeightsInformation", "weights_information"]
