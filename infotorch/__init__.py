"""What a neural network learnt from each of its training samples, on C++ kernels for PyTorch."""

from infotorch import bounds, ops, store, train
from infotorch.blocks import (
    Arena,
    Block,
    Gram,
    fisher,
    grad_gram,
    jvp,
    ntk,
    per_sample_grad_norms,
    per_sample_grads,
    sketch,
    vjp,
)
from infotorch.capture import Capture, LayerPair, capture
from infotorch.data import Samples
from infotorch.errors import (
    CaptureError,
    ConfigError,
    DataError,
    DivergenceError,
    InfotorchError,
    MissingExtraError,
    NotSupported,
    NumericsError,
    ShapeError,
    StoreError,
)
from infotorch.measures import (
    UniqueInformation,
    UniqueInformationResult,
    cross_entropy_unique_information,
    laplace_sample_information,
    pair_interactions,
    sgd_unique_information,
    unique_information_from_kernel,
    unique_information_from_shared_kernel,
)
from infotorch.pipeline import score
from infotorch.table import Column, Estimate, Scores
from infotorch.task import Loss, Task

__all__ = [
    "Arena",
    "Block",
    "Capture",
    "CaptureError",
    "Column",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "Estimate",
    "Gram",
    "InfotorchError",
    "LayerPair",
    "Loss",
    "MissingExtraError",
    "NotSupported",
    "NumericsError",
    "Samples",
    "Scores",
    "ShapeError",
    "StoreError",
    "Task",
    "UniqueInformation",
    "UniqueInformationResult",
    "bounds",
    "capture",
    "cross_entropy_unique_information",
    "fisher",
    "grad_gram",
    "jvp",
    "laplace_sample_information",
    "ntk",
    "ops",
    "pair_interactions",
    "per_sample_grad_norms",
    "per_sample_grads",
    "score",
    "sgd_unique_information",
    "sketch",
    "store",
    "train",
    "unique_information_from_kernel",
    "unique_information_from_shared_kernel",
    "vjp",
]
