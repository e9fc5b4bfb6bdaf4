"""What to do with scores: labels to correct, groups to compare, samples to keep once."""

from infotorch.curation.duplicates import MAX_SAMPLES, Duplicates, duplicates
from infotorch.curation.files import OUT_HELP, check_ending
from infotorch.curation.informativeness import Informativeness, informativeness
from infotorch.curation.label_errors import LabelErrors, label_errors

__all__ = [
    "MAX_SAMPLES",
    "OUT_HELP",
    "Duplicates",
    "Informativeness",
    "LabelErrors",
    "check_ending",
    "duplicates",
    "informativeness",
    "label_errors",
]
