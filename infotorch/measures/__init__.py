"""Measures: what is said of a sample, and the array-level mathematics behind it."""

from infotorch.measures.from_kernel import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.measures.information import UniqueInformationResult

__all__ = [
    "UniqueInformationResult",
    "unique_information_from_kernel",
    "unique_information_from_shared_kernel",
]
