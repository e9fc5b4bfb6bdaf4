"""The same samples scored at several checkpoints of one network."""

import contextlib
import copy
import dataclasses
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from infotorch.blocks.weights import check_finite
from infotorch.data import samples_of
from infotorch.errors import ConfigError, NumericsError, StoreError
from infotorch.measures.digest import digest_of_model
from infotorch.measures.measure import Measure, Progress
from infotorch.pipeline.scoring import chosen_measures, score
from infotorch.pipeline.trajectory import Trajectory
from infotorch.table import Scores
from infotorch.task import Task
from infotorch.train.checkpoint import check_tensors, load

__all__ = ["DIVERGED", "SUMMARY", "read_state", "score_checkpoints"]

WHERE = "score_checkpoints"
OF_A_RUN = ("batch_size", "shard_size", "memory_limit", "group")
"""Options of score that the run of the means has too."""
SUMMARY = "trajectory"
"""Name of the run with means, standard errors and changes."""
DIVERGED = "Leave this checkpoint out: its training has diverged."
ENDINGS = (".pt", ".pth", ".ckpt", ".bin")
Checkpoint = str | Path | Mapping[str, Any] | nn.Module


def score_checkpoints(
    task: Task,
    data: Any,
    measures: str | Measure | Sequence[str | Measure],
    checkpoints: str | Path | Sequence[Checkpoint] | Mapping[str, Checkpoint],
    *,
    key: str | None = None,
    out: str | Path | None = None,
    features: str | Path | None = None,
    command: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Trajectory:
    """Scores of every sample of ``data`` at each of several checkpoints.

    Every checkpoint's weights are put into the task's model in turn; afterwards, also after an error, the model is as
    it was. All checkpoints are read and checked before anything is computed.

    With ``out`` each checkpoint is a run ``<out>/<name>`` of its own, and ``<out>/trajectory`` one of the means over
    them: :meth:`Trajectory.to_scores`, with :meth:`Trajectory.summary` as its note "trajectory". The same call goes on
    after any kill where it was; runs that are finished are read.

    Args:
        task: Model, loss and parameters.
        data: As for :func:`infotorch.score`.
        measures: As for :func:`infotorch.score`.
        checkpoints: A folder, of which all files ending in .pt, .pth, .ckpt or .bin are taken, or a glob such as
            ``"runs/step-*.pt"``, in the order of the numbers in their names; or checkpoints in order, or by name. One
            is a file of a state dict, a state dict, or a module, which is scored in place of the task's. Files are read
            with ``weights_only=True``: they can't hold code.
        key: Under which files have the state dict, such as "state_dict" or "model"; default: they are one.
        out: Folder of the runs.
        features: Folder in which features stay, in one folder a checkpoint; see :func:`infotorch.score`.
        command: What else the scores follow from, for the runs' manifests.
        progress: Called with stage and checkpoint, steps done and steps in all.
        options: Others of :func:`infotorch.score`, such as ``memory_limit`` or ``batch_size``.

    Raises:
        ConfigError: There are fewer than two checkpoints, two have one name, or a measure brings its own networks.
        StoreError: A file can't be read or is no state dict, or one has other tensors than the model; the text names
            the first.
        NumericsError: A weight is not finite; the text names checkpoint and tensor.

    Example:
        >>> model = nn.Linear(2, 2).eval()
        >>> states = [{name: step * p for name, p in model.state_dict().items()} for step in (1, 2)]
        >>> data = torch.ones(3, 2), torch.tensor([0, 1, 1])
        >>> score_checkpoints(Task(model), data, "loss", states)["loss"].shape
        (2, 3)
    """
    chosen = chosen_measures(measures)
    for measure in chosen:
        if getattr(measure, "models", None) is not None:
            raise ConfigError(
                f"{WHERE}: measures must look at the task's own network; got {measure.name!r} with models. "
                "Leave models out: the means over checkpoints are those of an ensemble."
            )
    named = _named(checkpoints)
    samples = samples_of(data)
    samples.all_inputs(WHERE)
    with _restored(task.model):
        overwritten = not all(isinstance(checkpoint, nn.Module) for checkpoint in named.values())
        for name, checkpoint in named.items():
            _check(task, name, checkpoint, key, overwritten)
        tables, digests = [], {}
        for name, checkpoint in named.items():
            one = _at(task, name, checkpoint, key)
            digests[name] = digest_of_model(one.model)
            try:
                scores = score(
                    one, samples, chosen, out=None if out is None else Path(out) / name,
                    features=None if features is None else Path(features) / name,
                    command=None if out is None else {**(command or {}), "checkpoint": name},
                    progress=_told(progress, name), **options,
                )  # fmt: skip
            except NumericsError as error:
                raise type(error)(f"{error} This is at checkpoint {name!r}.") from error
            tables.append(scores)
        trajectory = Trajectory(names=tuple(named), tables=tuple(tables))
        if out is not None:
            score(
                one, samples, _Means(measures=chosen, trajectory=trajectory, digests=digests), out=Path(out) / SUMMARY,
                command=command, notes={SUMMARY: trajectory.summary()},
                **{name: options[name] for name in OF_A_RUN if name in options},
            )  # fmt: skip
    return trajectory


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Means:
    """Scores that are there already, as a measure: so that they become a run like any other."""

    measures: Sequence[Measure]
    trajectory: Trajectory
    digests: Mapping[str, str]
    """Of the networks, by the name of the checkpoint."""
    name: ClassVar[str] = SUMMARY

    def config(self) -> dict[str, Any]:
        return {
            "measures": [{"name": measure.name, **measure.config()} for measure in self.measures],
            "checkpoints": dict(self.digests),
        }

    def scores(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None = None, progress: Progress | None = None
    ) -> Scores:
        return self.trajectory.to_scores()


def _told(progress: Progress | None, name: str) -> Progress | None:
    """``progress`` that tells the checkpoint with each stage."""
    if progress is None:
        return None
    tell = progress
    return lambda stage, done, total: tell(f"{name}: {stage}", done, total)


def _named(checkpoints: str | Path | Sequence[Checkpoint] | Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """The checkpoints in order, by names that can be folders."""
    if isinstance(checkpoints, (str, Path)):
        pairs: list[tuple[str, Checkpoint]] = [(path.stem, path) for path in _files(checkpoints)]
    elif isinstance(checkpoints, Mapping):
        pairs = list(checkpoints.items())
    else:
        pairs = [
            (Path(each).stem if isinstance(each, (str, Path)) else f"checkpoint-{place}", each)
            for place, each in enumerate(checkpoints)
        ]
    names = [name for name, _ in pairs]
    for place, (name, checkpoint) in enumerate(pairs):
        if not isinstance(checkpoint, (str, Path, Mapping, nn.Module)):
            raise ConfigError(
                f"{WHERE}: a checkpoint must be a file, a state dict or a module; got {type(checkpoint).__name__} as "
                f"{name!r}. Pass a list of them, or a dict by name."
            )
        if not re.fullmatch(r"[^./\\\0][^/\\\0]*", str(name)) or name == SUMMARY or name in names[:place]:
            raise ConfigError(
                f"{WHERE}: names of checkpoints must differ, be names of folders and not {SUMMARY!r}; got {name!r}. "
                "Pass a dict with other names."
            )
    if len(pairs) < 2:
        raise ConfigError(
            f"{WHERE}: there must be at least two checkpoints; got {len(pairs)}. "
            "Use score for one, and look whether the path is right."
        )
    return dict(pairs)


def _files(place: str | Path) -> list[Path]:
    """Files of a folder or glob, in the order of the numbers in their names."""
    path = Path(place)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix in ENDINGS]
        what = f"files ending in {', '.join(ENDINGS)}"
    else:
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]
        what = "files that match"
    if not found:
        raise ConfigError(f"{WHERE}: {place} must hold checkpoints; got no {what}. Check the path.")

    def natural(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]

    return sorted(found, key=natural)


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """The model's parameters and buffers are afterwards what they were before."""
    before = copy.deepcopy(model.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(before)


def _at(task: Task, name: str, checkpoint: Checkpoint, key: str | None) -> Task:
    """The task at a checkpoint that was checked."""
    if isinstance(checkpoint, nn.Module):
        return dataclasses.replace(task, model=checkpoint)
    task.model.load_state_dict(_state(name, checkpoint, key))
    return task


def _check(task: Task, name: str, checkpoint: Checkpoint, key: str | None, overwritten: bool) -> None:
    """Refuse a checkpoint that is none of the task's model or not finite, or that loading another one changes."""
    own, state = task.model.state_dict(), _state(name, checkpoint, key)
    if not isinstance(checkpoint, nn.Module):
        check_tensors(f"the task's model at {name!r}", state, own, where=WHERE)
    mine = {value.data_ptr() for value in own.values() if isinstance(value, Tensor) and value.numel()}
    for tensor, value in state.items():
        if overwritten and isinstance(value, Tensor) and value.numel() and value.data_ptr() in mine:
            raise ConfigError(
                f"{WHERE}: checkpoints must be copies, as the task's model is overwritten; got its own {tensor!r} as "
                f"that of {name!r}. Pass copy.deepcopy(model.state_dict())."
            )
    check_finite(WHERE, repr(name), state, DIVERGED)


def _state(name: str, checkpoint: Checkpoint, key: str | None) -> Mapping[str, Any]:
    """The state dict of a checkpoint."""
    if isinstance(checkpoint, nn.Module):
        return checkpoint.state_dict()
    found = checkpoint if isinstance(checkpoint, Mapping) else read_state(Path(checkpoint))
    if key is not None and not isinstance(checkpoint, Mapping):
        if not isinstance(found, Mapping) or key not in found:
            raise StoreError(f"{WHERE}: {name!r} must have the key {key!r}; got {_kind(found)}. Give its key.")
        found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise StoreError(
            f"{WHERE}: {name!r} must be a state dict; got {_kind(found)}. Save model.state_dict(), or give the key "
            "under which a file has it."
        )
    return found


def _kind(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a dict of {', '.join(map(repr, list(found)[:5])) or 'nothing'}"
    return type(found).__name__


def read_state(path: Path, where: str = WHERE) -> Any:
    """What a file of torch.save holds; tensors on the CPU, no code.

    Raises:
        StoreError: There is none, or it isn't one.
    """
    must = "a file of torch.save, with tensors alone"
    return load(where, path, must, todo="Save model.state_dict().", archive=False)
