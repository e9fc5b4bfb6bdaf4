"""Networks changed by what is known of the information in their weights: scrubbed, merged, masked, held."""

from infotorch.blocks.weights import with_weights
from infotorch.edit.ewc import ewc
from infotorch.edit.mask import mask
from infotorch.edit.merge import merge
from infotorch.edit.readouts import Readouts, readouts
from infotorch.edit.scrub import Scrubbed, scrub
from infotorch.edit.sensitivity import Sensitivity, sensitivity

__all__ = [
    "Readouts",
    "Scrubbed",
    "Sensitivity",
    "ewc",
    "mask",
    "merge",
    "readouts",
    "scrub",
    "sensitivity",
    "with_weights",
]
