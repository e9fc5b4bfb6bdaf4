"""Measures: what is said of a sample, and the array-level mathematics behind it."""

from infotorch.measures.cross_entropy import CrossEntropyGGN, cross_entropy_ggn, cross_entropy_unique_information
from infotorch.measures.from_kernel import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.measures.information import UniqueInformationResult
from infotorch.measures.laplace import LaplaceInformation, laplace_sample_information
from infotorch.measures.measure import Measure, Progress
from infotorch.measures.pairs import PairInformation, pair_interactions
from infotorch.measures.sgd import SgdInformation, sgd_unique_information
from infotorch.measures.unique_information import UniqueInformation

REGISTRY = {UniqueInformation.name: UniqueInformation}

__all__ = [
    "REGISTRY",
    "CrossEntropyGGN",
    "LaplaceInformation",
    "Measure",
    "PairInformation",
    "Progress",
    "SgdInformation",
    "UniqueInformation",
    "UniqueInformationResult",
    "cross_entropy_ggn",
    "cross_entropy_unique_information",
    "laplace_sample_information",
    "pair_interactions",
    "sgd_unique_information",
    "unique_information_from_kernel",
    "unique_information_from_shared_kernel",
]
