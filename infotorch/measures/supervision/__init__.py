"""How hard targets are for a network to fit: supervision complexity, margin bounds from it, alignment of kernels."""

from infotorch.measures.supervision.from_kernel import complexity_from_kernel, kernel_alignment
from infotorch.measures.supervision.margin import MarginBound, margin_bound
from infotorch.measures.supervision.of_task import supervision_complexity
from infotorch.measures.supervision.report import ComplexityReport, ComplexityReports
from infotorch.measures.supervision.similarity import ntk_similarity

__all__ = [
    "ComplexityReport",
    "ComplexityReports",
    "MarginBound",
    "complexity_from_kernel",
    "kernel_alignment",
    "margin_bound",
    "ntk_similarity",
    "supervision_complexity",
]
