"""The golden case of one Gaussian layer, and the layer it is of."""

import pathlib

import numpy as np
import torch
from torch import nn

from infotorch.train import variational

FILE = pathlib.Path(__file__).parents[2] / "golden" / "weights_information" / "variational.npz"


def load():
    with np.load(FILE) as file:
        return {key: torch.as_tensor(file[key]) for key in file.files}


def layer(case, **options):
    """Linear(5, 3) in float64 with the case's posterior."""
    model = nn.Linear(5, 3).double()
    q = variational(model, **{"prior_var": float(case["lam2"]), "prior_mean": 0.0, "noise": "local"} | options)
    own = {"weight": "mu", "bias": "bias_mu", "weight_logvar": "logvar", "bias_logvar": "bias_logvar"}
    with torch.no_grad():
        for name, key in own.items():
            q.network.get_parameter(name).copy_(case[key])
    return q
