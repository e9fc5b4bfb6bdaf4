"""Reads the golden cases of supervision complexity."""

import json
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "supervision_complexity"


def numbers(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def sets():
    """Each set's arrays as tensors, with what is known of it."""
    with np.load(FOLDER / "digits_ntk.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    found = []
    for s, known in enumerate(numbers("digits_ntk")["sets"]):
        own = {key.removeprefix(f"set{s}_"): value for key, value in arrays.items() if key.startswith(f"set{s}_")}
        found.append((own, known))
    return found


def network(own, act):
    """The golden network, x -> act(W1 x + b1) -> W2 h + b2."""
    I, H, C = own["W1"].shape[1], len(own["W1"]), len(own["W2"])
    middle = torch.nn.Tanh() if act == "tanh" else torch.nn.ReLU()
    model = torch.nn.Sequential(torch.nn.Linear(I, H), middle, torch.nn.Linear(H, C)).double().eval()
    values = {"0.weight": own["W1"], "0.bias": own["b1"], "2.weight": own["W2"], "2.bias": own["b2"]}
    model.load_state_dict(values)
    return model
