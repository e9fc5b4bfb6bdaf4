"""What to do with scores: labels to correct, groups to compare, samples to keep once."""

from infotorch.curation.duplicates import MAX_SAMPLES, Duplicates, duplicates
from infotorch.curation.informativeness import Informativeness, informativeness
from infotorch.curation.label_errors import LabelErrors, label_errors

__all__ = [
    "MAX_SAMPLES",
    "Duplicates",
    "Informativeness",
    "LabelErrors",
    "duplicates",
    "informativeness",
    "label_errors",
]
