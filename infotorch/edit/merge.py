"""One network of several, weighted by their Fisher information."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.blocks import Diagonal
from infotorch.blocks.weights import check_finite
from infotorch.errors import ConfigError, NumericsError, ShapeError, check_number

__all__ = ["matching", "merge"]

Model = nn.Module | Mapping[str, Tensor]


@torch.no_grad()
def merge(
    models: Sequence[Model],
    fishers: Sequence[Mapping[str, Tensor] | Diagonal] | None = None,
    *,
    coefficients: Sequence[float] | None = None,
    normalize: bool = True,
    floor: float = 1e-6,
    favor: int | None = None,
    exclude: Sequence[str] = (),
) -> dict[str, Tensor]:
    r"""Average of networks by their Fisher information, :math:`\sum_m c_m F_m w_m / \sum_m c_m F_m` elementwise.

    The mode of the product of the Gaussians :math:`N(w_m, (c_m F_m)^{-1})`: Matena and Raffel, "Merging models with
    Fisher-weighted averaging" (arXiv:2111.09832), equation 3. Without ``fishers`` it is the average with the weights c.

    Args:
        models: Modules or state dicts, at least two.
        fishers: The diagonal Fisher of each: {name: [\*shape]}, or what ``fisher(task, data, structure="diagonal")``
            returns. Floating entries without one, such as the statistics of a BatchNorm, must be equal in all models or
            be excluded.
        coefficients: c_m, at least 0 and not all of them; all equal if not given.
        normalize: Divide each c_m by the Euclidean norm of F_m, so that no network outweighs the others by the number
            or the difficulty of its samples. The authors' default.
        floor: Every entry of a Fisher is at least this, before it is normalized, so that entries nobody has seen are
            averaged.
        favor: Number of a target model: it alone gets the floor, so that others have no say where they saw nothing.
        exclude: Names or globs of entries that are not merged, such as heads: they are the favored model's, or the
            first one's, and need not agree in shape.

    Returns:
        A state dict of copies, to load into a network of the architecture; entries that are not floating point are the
        favored model's, or the first one's.

    Raises:
        ConfigError: An option is out of range.
        NumericsError: A weight or a Fisher is not finite, a Fisher is negative, or all are zero somewhere.
        ShapeError: The models or their Fishers differ; the text names the first difference.

    Example:
        >>> one, two = ({"w": torch.tensor([0.0, 0.0])}, {"w": torch.tensor([4.0, 4.0])})
        >>> merge([one, two], [{"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([1.0, 1.0])}], normalize=False)
        {'w': tensor([2., 1.])}
    """
    if not isinstance(models, (list, tuple)):
        raise ConfigError(f"merge: models must be a list; got {type(models).__name__}. Pass [one, other].")
    floor = check_number("merge", "floor", floor, "Pass the least Fisher of an entry.")
    if not isinstance(normalize, bool):
        raise ConfigError(f"merge: normalize must be True or False; got {type(normalize).__name__}. Pass one of them.")
    states = [_state(place, model) for place, model in enumerate(models)]
    if len(states) < 2:
        raise ConfigError(f"merge: there must be at least two models; got {len(states)}. Pass a list of them.")
    if favor is not None and not (type(favor) is int and 0 <= favor < len(states)):
        raise ConfigError(
            f"merge: favor must be a number of a model, 0 to {len(states) - 1}; got {favor}. Count from 0."
        )
    if not 0 <= floor < float("inf"):
        raise ConfigError(
            f"merge: floor must be finite and at least 0; got {floor}. Pass the least Fisher of an entry."
        )
    target = states[favor or 0]
    out = matching("merge", "exclude", exclude, dict.fromkeys(name for state in states for name in state))
    names = [name for name in dict.fromkeys(name for state in states for name in state) if name not in out]
    _check_alike(states, names)
    c = _coefficients(coefficients, len(states))
    for place, state in enumerate(states):
        check_finite("merge", f"model {place}", state)
    floating = [name for name in names if target[name].is_floating_point()]
    weights = _weights(fishers, states, floating, c, normalize=normalize, floor=floor, favor=favor)
    merged = {name: value.clone() for name, value in target.items()}
    for name in floating:
        if (F := weights.get(name)) is None:
            continue
        total = sum(F[1:], F[0])
        if not bool((total > 0).all()):
            place = int((total <= 0).flatten().nonzero()[0])
            todo = "Raise floor" if floor == 0 else "Give the favored model a coefficient above 0"
            raise NumericsError(
                f"merge: some Fisher must be above 0 at every entry; got only zeros at entry {place} of {name!r}. "
                f"{todo}, or exclude it."
            )
        product = sum(f * state[name].to(f) for f, state in zip(F, states, strict=True))
        merged[name] = (product / total).to(target[name].dtype)
    return merged


def matching(where: str, option: str, patterns: Sequence[str], names: Iterable[str]) -> set[str]:
    """The names that a pattern matches.

    Raises:
        ConfigError: A pattern matches none, or text came in place of a list.
    """
    if isinstance(patterns, str):
        raise ConfigError(f"{where}: {option} must be a list of names or globs; got {patterns!r}. Pass [{patterns!r}].")
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in patterns):
        raise ConfigError(
            f"{where}: {option} must be a list of names or globs; got {type(patterns).__name__}. Pass such as "
            '["head.*"].'
        )
    found: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            raise ConfigError(
                f"{where}: every entry of {option} must match a parameter; got {pattern!r}, which matches none. "
                "Look at the names of the state dict."
            )
        found.update(hits)
    return found


def _state(place: int, model: Any) -> dict[str, Tensor]:
    state = model.state_dict() if isinstance(model, nn.Module) else model
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"merge: a model must be a module or a dict of tensors; got {type(model).__name__} as model {place}. "
            "Pass model.state_dict()."
        )
    return {name: value.detach() for name, value in state.items()}


def _check_alike(states: Sequence[Mapping[str, Tensor]], names: Iterable[str]) -> None:
    for name in names:
        first, *others = [list(state[name].shape) if name in state else "nothing" for state in states]
        for place, other in enumerate(others, 1):
            if other != first:
                raise ShapeError(
                    f"merge: models must be of one architecture; got {first} for {name!r} in model 0 and {other} in "
                    f"model {place}. Exclude it, if it is a head."
                )


def _coefficients(given: Sequence[float] | None, M: int) -> list[float]:
    if given is not None and (not hasattr(given, "__iter__") or getattr(given, "ndim", 1) != 1):
        raise ConfigError(f"merge: coefficients must be {M} numbers; got {type(given).__name__}. Pass one a model.")
    todo = "Pass one a model."
    c = [1 / M] * M if given is None else [float(check_number("merge", "a coefficient", v, todo)) for v in given]
    if len(c) != M or not all(0 <= value < float("inf") for value in c) or not any(c):
        raise ConfigError(
            f"merge: coefficients must be {M} finite numbers, at least 0 and not all 0; got {c}. Pass one a model."
        )
    return c


def _weights(
    fishers: Sequence[Mapping[str, Tensor] | Diagonal] | None,
    states: Sequence[Mapping[str, Tensor]],
    names: Sequence[str],
    c: Sequence[float],
    *,
    normalize: bool,
    floor: float,
    favor: int | None,
) -> dict[str, list[Tensor]]:
    """c_m F_m of every entry to merge, float64, in the order of the models."""
    if fishers is None:
        return {name: [torch.full_like(states[0][name], value, dtype=torch.float64) for value in c] for name in names}
    if not isinstance(fishers, (list, tuple)):
        raise ConfigError(f"merge: fishers must be a list; got {type(fishers).__name__}. Pass one a model.")
    if len(fishers) != len(states):
        raise ConfigError(
            f"merge: fishers must be one a model; got {len(fishers)} for {len(states)}. Pass a list of them."
        )
    parts = [_checked(place, F, states[place]) for place, F in enumerate(fishers)]
    known = [name for name in names if any(name in F for F in parts)]
    tied = _tied(states, known, names)
    for name in names:
        if name in tied:
            continue
        missing = [place for place, F in enumerate(parts) if name not in F]
        if missing and (name in known or any(not torch.equal(states[0][name], state[name]) for state in states)):
            raise ShapeError(
                f"merge: every entry that differs among the models must have a Fisher; got none for {name!r} of model "
                f"{missing[0]}. Give one, or exclude it."
            )
    scaled: dict[str, list[Tensor]] = {name: [] for name in known}
    for place, F in enumerate(parts):
        own = {name: F[name].to(states[0][name].device, torch.float64) for name in known}
        norm = float(torch.stack([value.square().sum() for value in own.values()]).sum().sqrt()) if own else 0.0
        if favor is None or favor == place:
            own = {name: value.clamp(min=floor) for name, value in own.items()}
        # A Fisher of zeros has no norm: its model says what the floor does.
        scale = c[place] / norm if normalize and norm > 0 else c[place]
        for name, value in own.items():
            scaled[name].append(scale * value)
    return scaled | {name: scaled[source] for name, source in tied.items()}


def _tied(states: Sequence[Mapping[str, Tensor]], known: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Entries that are another name of one with a Fisher, as a state dict has of a tied parameter, and that one."""
    places = {(state[name].data_ptr(), state[name].shape): name for state in states[:1] for name in known}
    found = {}
    for name in names:
        source = places.get((states[0][name].data_ptr(), states[0][name].shape))
        if name not in known and source and all(torch.equal(state[name], state[source]) for state in states):
            found[name] = source
    return found


def _checked(place: int, F: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    values = F.values if isinstance(F, Diagonal) else F
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"merge: a Fisher must be a dict of tensors or diagonal; got {type(F).__name__} for model {place}. Pass "
            'fisher(task, data, structure="diagonal").'
        )
    for name, value in values.items():
        want = list(state[name].shape) if name in state else "nothing"
        if list(value.shape) != want:
            raise ShapeError(
                f"merge: a Fisher must have the shapes of its model; got {list(value.shape)} for {name!r} of model "
                f"{place}, where the model has {want}. Pass that of this model."
            )
        if not bool(((value >= 0) & value.isfinite()).all()):
            worst = float(value[~((value >= 0) & value.isfinite())][0])
            raise NumericsError(
                f"merge: a Fisher must be finite and at least 0; got {worst} in {name!r} of model {place}. "
                "Look at the data that it is of."
            )
    return dict(values)
