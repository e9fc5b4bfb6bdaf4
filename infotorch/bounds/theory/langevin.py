"""Gradient descent with the noise that its bound stands on."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from infotorch.errors import ConfigError, NotSupported, NumericsError

__all__ = ["Langevin"]

Schedule = float | Callable[[int], float]


class Langevin(Optimizer):
    r"""Stochastic gradient Langevin dynamics, :math:`w \leftarrow w - \eta_t g_t + N(0, (2 \eta_t / \beta_t) I)`.

    The noise has variance :math:`2 \eta / \beta`, that of the Langevin diffusion at inverse temperature
    :math:`\beta`, and what :func:`sgld` accounts for when g is the mean gradient of a batch. (The sampler published
    with arXiv 2110.01584 draws variance :math:`2 \eta / \beta^3`, for which each term of the account is
    :math:`\beta^2` times larger.)

    ``lr`` and ``beta`` may be functions of the step, counted from 0; or numbers that torch's schedulers change in
    ``param_groups[0]``. All parameters share them, as the account does, so there is one parameter group. The values
    that were used are kept in ``lrs`` and ``betas``.

    The noise comes from a generator of its own, on the parameters' device, whose state is part of ``state_dict``: a
    resumed training has the same bits. Updates are computed in float32 at least. A parameter of 16 bits is rounded
    once, after the noise, so that the account holds for it too, by data processing.

    Args:
        params: Parameters, all on one device.
        lr: Step size :math:`\eta`, above 0.
        beta: Inverse temperature :math:`\beta`, above 0.
        seed: Of the noise; default one drawn by torch's own generator, so that it follows ``torch.manual_seed``, and in
            ``infotorch.bounds.run`` the run's seed.

    Raises:
        ConfigError: ``lr`` or ``beta`` is not a finite number above 0, at the start or at a step; a parameter is not
            floating; or parameters lie on several devices.
        NotSupported: There are several parameter groups, or a gradient is sparse.
        NumericsError: A gradient is not finite; the parameters are as before the step.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = Langevin([w], lr=lambda t: 0.1 * 0.9**t, beta=100.0, seed=1)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> optimizer.lrs, optimizer.betas
        ([0.1], [100.0])
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: Schedule,
        beta: Schedule,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})
        group = self.param_groups[0]
        for name in ("lr", "beta"):
            self.defaults[name] = group[name]
            group[name] = self._at(name, 0)
        devices = {p.device for p in group["params"]}
        if len(devices) > 1:
            raise ConfigError(
                "langevin: parameters must lie on one device, where their noise is drawn; "
                f"got {', '.join(sorted(map(str, devices)))}. Give each device an optimizer with a seed of its own."
            )
        for place, p in enumerate(group["params"]):
            if not p.is_floating_point():
                raise ConfigError(
                    f"langevin: parameters must be floating; got {p.dtype} for {self._name(place)}. Leave it out."
                )
        # Under a key that is no parameter torch keeps and loads what is there as it is.
        if seed is None:
            seed = int(torch.randint(2**63 - 1, ()))
        noise = torch.Generator(devices.pop()).manual_seed(seed).get_state()
        cast(dict[str, Any], self.state)["langevin"] = {"lr": [], "beta": [], "noise": noise}

    @property
    def _own(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.state)["langevin"]

    @property
    def lrs(self) -> list[float]:
        """The step sizes that were used, one a step."""
        return list(self._own["lr"])

    @property
    def betas(self) -> list[float]:
        """The inverse temperatures that were used, one a step."""
        return list(self._own["beta"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group.

        Raises:
            NotSupported: There is one already.
        """
        if self.param_groups:
            raise NotSupported(
                "langevin: all parameters must share lr and beta, as the account does; got a second parameter group. "
                "Give all parameters in one."
            )
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state: later steps don't change it."""
        return copy.deepcopy(super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state; functions given as ``lr`` and ``beta`` are not part of it and stay.

        Raises:
            ConfigError: The state is not of this optimizer.
        """
        if "langevin" not in state_dict.get("state", {}):
            raise ConfigError(
                "langevin: the state must be what Langevin.state_dict returned; got one without its noise. "
                "Load it into the optimizer that wrote it."
            )
        super().load_state_dict(copy.deepcopy(state_dict))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that require grad.

        Args:
            closure: Computes the gradients anew and returns the loss.

        Returns:
            What ``closure`` returned; without one, None.

        Raises:
            ConfigError: lr or beta is out of range at this step, or a parameter has no gradient.
            NotSupported: A gradient is sparse.
            NumericsError: A gradient is not finite; nothing has been changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group, own = self.param_groups[0], self._own
        used = {name: self._used(name, len(own["lr"])) for name in ("lr", "beta")}
        params = [(place, p) for place, p in enumerate(group["params"]) if p.requires_grad]
        for place, p in params:
            self._check_gradient(place, p.grad)
        lr, std = used["lr"], math.sqrt(2 * used["lr"] / used["beta"])
        generator = torch.Generator(group["params"][0].device)
        generator.set_state(own["noise"].cpu())
        for _, p in params:
            wide = p.to(torch.promote_types(p.dtype, torch.float32))  # p itself, where it is wide enough
            noise = torch.empty_like(wide).normal_(0, std, generator=generator)
            wide.add_(p.grad, alpha=-lr).add_(noise)
            if wide is not p:
                p.copy_(wide)
        own["noise"] = generator.get_state()
        for name, value in used.items():
            group[name] = value
            own[name].append(value)
        return loss

    def _used(self, name: str, step: int) -> float:
        """The step's lr or beta, by its function or as the group has it."""
        group = self.param_groups[0]
        if callable(self.defaults[name]) and group[name] != self._at(name, max(step - 1, 0)):
            raise ConfigError(
                f"langevin: {name} must be set by its function or from outside; got both: {group[name]} in the group. "
                f"Give {name} as a number if a scheduler changes it."
            )
        return self._at(name, step) if callable(self.defaults[name]) else self._checked(name, step, group[name])

    def _at(self, name: str, step: int) -> float:
        given = self.defaults[name]
        return self._checked(name, step, given(step) if callable(given) else given)

    @staticmethod
    def _checked(name: str, step: int, value: Any) -> float:
        number = float(value)
        if not 0 < number < math.inf:
            raise ConfigError(
                f"langevin: {name} must be finite and above 0 at every step; got {number} at step {step}. "
                "End the training before it reaches 0."
            )
        return number

    def _name(self, place: int) -> str:
        group = self.param_groups[0]
        shape = list(group["params"][place].shape)
        return repr(group["param_names"][place]) if "param_names" in group else f"parameter {place} {shape}"

    def _check_gradient(self, place: int, grad: Tensor | None) -> None:
        if grad is None:
            raise ConfigError(
                f"langevin: every parameter that requires grad must have a gradient; got none for {self._name(place)}. "
                "Call backward first; freeze what the loss doesn't reach, with requires_grad_(False)."
            )
        if grad.is_sparse:
            raise NotSupported(
                f"langevin: gradients must be dense, as the noise is; got a sparse one for {self._name(place)}. "
                "Build the embedding with sparse=False."
            )
        finite = grad.isfinite()
        if not finite.all():
            raise NumericsError(
                f"langevin: gradients must be finite; got {float(grad[~finite][0])} for {self._name(place)} at step "
                f"{len(self._own['lr'])}. Lower lr; the parameters are as before the step."
            )
