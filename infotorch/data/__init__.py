"""Samples: read from files, or taken from tensors, data sets and loaders; checked in either case."""

from infotorch.data.pictures import pictures_of, thumbnails
from infotorch.data.readers import READERS, read
from infotorch.data.rows import sample_rows
from infotorch.data.samples import Samples, check_same_classes
from infotorch.data.sources import inputs_of, samples_of, streamed
from infotorch.data.streams import StreamedInputs, batches_of, hashes_of, inputs_digest, row_hashes

__all__ = [
    "READERS",
    "Samples",
    "StreamedInputs",
    "batches_of",
    "check_same_classes",
    "hashes_of",
    "inputs_digest",
    "inputs_of",
    "pictures_of",
    "read",
    "row_hashes",
    "sample_rows",
    "samples_of",
    "streamed",
    "thumbnails",
]
