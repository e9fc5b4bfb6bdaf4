"""Information in the activations of every layer of a small CNN, of 1,000 images of MNIST and a diagonal posterior.

Run with ``python -m benchmarks.measures.activations``; INFOTORCH_DATA names the folder of mnist.npz. The last layer's
numbers are first compared with those of explicit Jacobians, image by image.
"""

import os
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from benchmarks.record import append
from infotorch import Task, activations_information

N, ROWS, VARIANCE, TAU = 1000, 64, 1e-3, 0.1
LAYERS = ("0", "1", "2", "3", "4", "5", "7")  # 6 is what 5 is, flattened


def trained(x: Tensor, y: Tensor) -> nn.Module:
    """Three epochs of Adam."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(400, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


def by_jacobians(model: nn.Module, x: Tensor) -> Tensor:
    """I_tau [N] of the outputs, from both Jacobians of every image."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    found = []
    for x_n in x:

        def outputs(parameters: dict[str, Tensor], x_n: Tensor) -> Tensor:
            return functional_call(model, parameters, (x_n[None],))[0]

        by_name, J_x = jacrev(outputs, (0, 1))(parameters, x_n)
        J_w, J_x = torch.cat([g.flatten(1) for g in by_name.values()], 1).double(), J_x.flatten(1).double()
        moved = torch.linalg.solve(VARIANCE * J_w @ J_w.mT, J_x @ J_x.mT)
        found.append(0.5 * torch.logdet(torch.eye(len(J_w)) + TAU**2 * moved))
    return torch.stack(found)


def main() -> None:
    """Check, time, print and append a line."""
    with np.load(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "mnist.npz") as file:
        x = torch.from_numpy(file["x_train"][:N])[:, None].float() / 255
        y = torch.from_numpy(file["y_train"][:N]).long()
    model = trained(x, y)
    P = sum(p.numel() for p in model.parameters())
    options = {"posterior": torch.full((P,), VARIANCE), "tau": TAU}
    few = activations_information(Task(model), x[:10], layers="7", **options)["7"].I_tau
    error = float((few / by_jacobians(model, x[:10]) - 1).abs().max())
    assert error < 1e-3, f"relative difference {error:.1e}"
    rows = dict.fromkeys(LAYERS[:-1], ROWS)
    start = time.perf_counter()
    found = activations_information(Task(model), (x, y), layers=LAYERS, rows=rows, **options)
    seconds = time.perf_counter() - start
    case = {"case": f"conv 1-8-16, linear 400-10, MNIST, N={N}, {len(LAYERS)} layers, {ROWS} rows of the wide ones"}
    means = {path: round(float(layer.I_tau.mean()), 4) for path, layer in found.layers.items()}
    append("activations-cpu.jsonl", "information in activations", case, {"seconds": round(seconds, 2), "I_tau": means})
    print(found)
    print(f"{seconds:.1f} s")


if __name__ == "__main__":
    main()
