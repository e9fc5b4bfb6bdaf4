"""Smooth unique information of samples and groups, from a kernel and a residual."""

from typing import Literal

import torch

from infotorch.measures.information import WHERE, UniqueInformationResult, information, members
from infotorch.measures.kernel_input import Array, kernel_input
from infotorch.measures.schedule import Numbers, schedule


@torch.no_grad()
def unique_information_from_kernel(
    K: Array,
    residual: Array,
    K_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    groups: Array | None = None,
    removed: Array | None = None,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
    overwrite: bool = False,
) -> UniqueInformationResult:
    r"""Unique information of each sample in the weights and outputs of a linearized network, exactly."""
    data = kernel_input(WHERE, K, residual, K_test)
    who = members(len(data.residual), groups, removed)
    plan = schedule(
        ridge=ridge,
        ridge_without=ridge_without,
        time=time,
        time_without=time_without,
        lr=lr,
        lr_without=lr_without,
        steps=steps,
        num_groups=who.num_groups,
    )
    return information(
        data,
        who,
        plan,
        sigma=sigma,
        nodes=nodes,
        return_changes=return_changes,
        on_unreliable=on_unreliable,
        overwrite=overwrite,
    )


@torch.no_grad()
def unique_information_from_shared_kernel(
    G: Array,
    residual: Array,
    G_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    groups: Array | None = None,
    removed: Array | None = None,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
    overwrite: bool = False,
) -> UniqueInformationResult:
    r"""The same for a kernel G ⊗ I_C whose outputs share G."""
    data = kernel_input(WHERE, G, residual, G_test, shared=True)
    who = members(len(data.residual), groups, removed)
    plan = schedule(
        ridge=ridge,
        ridge_without=ridge_without,
        time=time,
        time_without=time_without,
        lr=lr,
        lr_without=lr_without,
        steps=steps,
        num_groups=who.num_groups,
    )
    return information(
        data,
        who,
        plan,
        sigma=sigma,
        nodes=nodes,
        return_changes=return_changes,
        on_unreliable=on_unreliable,
        overwrite=overwrite,
    )
