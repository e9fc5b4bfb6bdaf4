"""Measures: what is said of a sample, and the array-level mathematics behind it."""

from infotorch.measures.activations import (
    ActivationsInformation,
    LayerInformation,
    TangentInformation,
    activations_information,
)
from infotorch.measures.baselines import EL2N, GradientNorm, LabelQuality, Margin, SampleLoss
from infotorch.measures.cross_entropy import CrossEntropyGGN, cross_entropy_ggn, cross_entropy_unique_information
from infotorch.measures.detection import Detection, detection
from infotorch.measures.embedding import Embedding, task_distance, task_embedding
from infotorch.measures.fisher_spectrum import FisherSpectrum, SpectralSum, fisher_spectrum
from infotorch.measures.fisher_trace import FisherTraceResult, fisher_trace
from infotorch.measures.from_kernel import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.measures.information import UniqueInformationResult
from infotorch.measures.label_bounds import fano_min_error, label_info_lower, max_memorised
from infotorch.measures.label_info import LabelInfo, LabelInfoMeter
from infotorch.measures.laplace import LaplaceInformation, laplace_sample_information
from infotorch.measures.lognormal import lognormal_bound
from infotorch.measures.measure import Measure, Progress
from infotorch.measures.memorised import Memorised, memorised_counts
from infotorch.measures.pac_bayes import PacBayesBound, pac_bayes
from infotorch.measures.pairs import PairInformation, pair_interactions
from infotorch.measures.primal.attribution import attribution_from_features
from infotorch.measures.primal.from_features import unique_information_from_features
from infotorch.measures.primal.laplace import laplace_sample_information_from_features
from infotorch.measures.sgd import SgdInformation, sgd_unique_information
from infotorch.measures.shannon import ShannonInformation, shannon_information
from infotorch.measures.supervision import (
    ComplexityReport,
    ComplexityReports,
    MarginBound,
    complexity_from_kernel,
    kernel_alignment,
    margin_bound,
    ntk_similarity,
    supervision_complexity,
)
from infotorch.measures.unique_information import UniqueInformation
from infotorch.measures.weights import WeightsInformation, weights_information

REGISTRY = {
    UniqueInformation.name: UniqueInformation,
    SampleLoss.name: SampleLoss,
    GradientNorm.name: GradientNorm,
    EL2N.name: EL2N,
    Margin.name: Margin,
    LabelQuality.name: LabelQuality,
}

__all__ = [
    "EL2N",
    "REGISTRY",
    "ActivationsInformation",
    "ComplexityReport",
    "ComplexityReports",
    "CrossEntropyGGN",
    "Detection",
    "Embedding",
    "FisherSpectrum",
    "FisherTraceResult",
    "GradientNorm",
    "LabelInfo",
    "LabelInfoMeter",
    "LabelQuality",
    "LaplaceInformation",
    "LayerInformation",
    "Margin",
    "MarginBound",
    "Measure",
    "Memorised",
    "PacBayesBound",
    "PairInformation",
    "Progress",
    "SampleLoss",
    "SgdInformation",
    "ShannonInformation",
    "SpectralSum",
    "TangentInformation",
    "UniqueInformation",
    "UniqueInformationResult",
    "WeightsInformation",
    "activations_information",
    "attribution_from_features",
    "complexity_from_kernel",
    "cross_entropy_ggn",
    "cross_entropy_unique_information",
    "detection",
    "fano_min_error",
    "fisher_spectrum",
    "fisher_trace",
    "kernel_alignment",
    "label_info_lower",
    "laplace_sample_information",
    "laplace_sample_information_from_features",
    "lognormal_bound",
    "margin_bound",
    "max_memorised",
    "memorised_counts",
    "ntk_similarity",
    "pac_bayes",
    "pair_interactions",
    "sgd_unique_information",
    "shannon_information",
    "supervision_complexity",
    "task_distance",
    "task_embedding",
    "unique_information_from_features",
    "unique_information_from_kernel",
    "unique_information_from_shared_kernel",
    "weights_information",
]
