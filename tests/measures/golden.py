"""Reads the golden cases of unique information."""

import pathlib

import numpy as np
import torch
from torch import Tensor

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "unique_information"


def load(name: str) -> dict[str, Tensor]:
    """All numeric fields of a case as tensors; scalars too."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.as_tensor(file[key]) for key in file.files if file[key].dtype.kind in "fib"}


def kernel(J: Tensor, J2: Tensor | None = None) -> Tensor:
    """J2 J' (J2 = J by default) from [N, C, P], rows by sample, then by output."""
    return (J if J2 is None else J2).flatten(0, 1) @ J.flatten(0, 1).mT
