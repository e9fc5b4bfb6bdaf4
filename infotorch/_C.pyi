"""The compiled module. Importing it registers ``torch.ops.infotorch``."""

import numpy as np

build: dict[str, str]
"""Facts of the build: compiler, torch."""

# Convolutions of E networks, samples innermost; shape is (E, C, H, W, B, O, Ho, Wo), kernel, stride, padding, dilation.
def member_conv(shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None: ...
def member_conv_dx(shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None: ...
def member_conv_dw(shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None: ...
