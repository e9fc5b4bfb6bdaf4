"""Reads the golden cases of LIMIT, and the random words that its draws are keyed to."""

import json
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "limit"


def load(name):
    """All fields of a case: numbers as tensors, words as they are."""
    with np.load(FOLDER / f"{name}.npz") as file:
        fields = {key: file[key] for key in file.files}
    return {key: torch.as_tensor(value) if value.dtype.kind in "fib" else str(value) for key, value in fields.items()}


def information():
    """The cases of the functions of single numbers."""
    return json.loads((FOLDER / "info.json").read_text())["info"]


def philox_uniform(key, counter):
    """The first word of Philox4x32-10 (Salmon et al., SC 2011) as a number in (0, 1)."""
    k, x, mask = [key & 0xFFFFFFFF, key >> 32], list(counter), 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(q >> 32) ^ x[1] ^ k[0], q & mask, (p >> 32) ^ x[3] ^ k[1], p & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return (x[0] >> 8) * 2.0**-24 + 2.0**-25
