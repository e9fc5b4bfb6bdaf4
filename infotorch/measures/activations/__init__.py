"""Information in the activations: what a layer's output tells of its input under uncertain weights."""

from infotorch.measures.activations.information import activations_information
from infotorch.measures.activations.result import ActivationsInformation, LayerInformation, TangentInformation

__all__ = ["ActivationsInformation", "LayerInformation", "TangentInformation", "activations_information"]
