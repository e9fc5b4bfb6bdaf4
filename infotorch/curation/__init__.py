"""What to do with scores: labels to correct, groups to compare, samples to keep once."""

from infotorch.curation.files import OUT_HELP, check_ending
from infotorch.curation.informativeness import Informativeness, informativeness
from infotorch.curation.label_errors import LabelErrors, label_errors

__all__ = ["OUT_HELP", "Informativeness", "LabelErrors", "check_ending", "informativeness", "label_errors"]
