"""Supervision complexity of targets at the checkpoints of a training, as one long table."""

import contextlib
import copy
import csv
import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.blocks.weights import check_finite
from infotorch.data import samples_of
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.measures import supervision_complexity
from infotorch.measures.digest import digest, digest_of_code
from infotorch.measures.kernel_input import Array, as_tensor
from infotorch.measures.measure import Progress
from infotorch.measures.supervision.report import COLUMNS, ComplexityReport
from infotorch.pipeline.checkpoints import DIVERGED, read_state
from infotorch.store.files import locked, read_bytes, refusals, write_bytes
from infotorch.store.manifest import decoded, encoded, first_difference
from infotorch.task import Task, num_samples
from infotorch.train.checkpoint import check_tensors
from infotorch.train.distillation.folder import NAME

__all__ = ["TABLE", "complexity_along"]

WHERE = "complexity"
STATE, TABLE = "complexity.json", "complexity.csv"
"""In the folder ``out``: what is done, rewritten whole after each checkpoint, and the table."""
HEAD = ("step", "target", "tau", *COLUMNS)
Target = Tensor | Callable[[int], Tensor]


@torch.no_grad()
def complexity_along(
    task: Task,
    data: Any,
    checkpoints: str | Path | Sequence[str | Path],
    targets: Mapping[str, Target] | None = None,
    *,
    f0: Literal["student", "zero"] | Array = "student",
    tau: float = 1.0,
    output: Literal["logits", "probs"] = "logits",
    kernel: Literal["full", "avg"] = "full",
    ridge: float | None = None,
    ridge_rel: float | None = None,
    solver: Literal["auto", "cholesky", "lanczos"] = "auto",
    tol: float = 1e-3,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Supervision complexity of fixed samples' targets at each checkpoint, as :func:`supervision_complexity` has it.

    The task's own model stays as it is. With ``out`` every checkpoint's rows are on the disk before the next one is
    looked at, each file whole or absent: the same call goes on after any kill, and ends with the same bytes.

    Args:
        task: Model and parameters.
        data: Samples as for :func:`infotorch.score`, all in memory; 256 of them are usually enough.
        checkpoints: A folder whose ``.pt`` files are all named ``step-00000120.pt`` and the like, or such files in the
            order of their steps; each a state dict of the task's model, read with ``weights_only=True``.
        targets: Targets [N, C] by name; or functions of the step, for a teacher at the same time. Default: the one-hot
            labels as ``labels``.
        f0: As for :func:`supervision_complexity`, like all that follow up to ``tol``.
        tau: Temperature of f0.
        output: ``"logits"`` or ``"probs"``.
        kernel: ``"full"`` or ``"avg"``.
        ridge: rho.
        ridge_rel: rho in units of Tr(K)/(N C) of each checkpoint.
        solver: ``"auto"``, ``"cholesky"`` or ``"lanczos"``.
        tol: Of Lanczos.
        out: Folder that gets ``complexity.json`` and ``complexity.csv``.
        progress: Called with ("checkpoints", done, total).

    Returns:
        Rows with step, target, tau and the measures; None where a measure is not known.

    Raises:
        ConfigError: There is no checkpoint, one is named otherwise, or they are not in the order of their steps.
        StoreError: A file is none of torch.save or of another network, or ``out`` is a file, or holds the table of
            another call or of a checkpoint that has changed or is gone.
        NumericsError: A weight is not finite, or as for :func:`supervision_complexity`.
        DataError: As for :func:`supervision_complexity`.
    """
    steps = _steps(checkpoints)
    samples = samples_of(data)
    x = samples.all_inputs(WHERE)
    named = dict(targets) if targets is not None else {"labels": _one_hot(task, x, samples.y)}
    options: dict[str, Any] = {
        "f0": f0, "tau": tau, "output": output, "kernel": kernel, "ridge": ridge, "ridge_rel": ridge_rel,
        "solver": solver, "tol": tol,
    }  # fmt: skip
    settings = {
        **options, "f0": f0 if isinstance(f0, str) else digest([as_tensor(WHERE, "f0", f0, read_only=True)[0]]),
        "data": {"inputs": digest([x]), **_shapes(x)}, "model": digest_of_code(task.model, state=False),
        "parameters": list(task.shapes), "forward": None if task.forward is None else digest_of_code(task.forward),
        "targets": {k: digest([v]) if isinstance(v, Tensor) else digest_of_code(v) for k, v in named.items()},
    }  # fmt: skip
    with _Table(None if out is None else Path(out), settings, steps) as table:
        student = dataclasses.replace(task, model=copy.deepcopy(task.model))
        for place, (step, path) in enumerate(steps.items()):
            if not table.has(step, path):
                _load(student, path)
                here = {name: P if isinstance(P, Tensor) else P(step) for name, P in named.items()}
                reports = supervision_complexity(student, x, here, **options)
                assert not isinstance(reports, ComplexityReport)
                table.add(step, path, [{"step": step, **row} for row in reports.rows()])
            if progress is not None:
                progress("checkpoints", place + 1, len(steps))
        return table.finished()


def _steps(checkpoints: str | Path | Sequence[str | Path]) -> dict[int, Path]:
    """Files by step."""
    if isinstance(checkpoints, str | Path):
        folder = Path(checkpoints)
        files = sorted(folder.glob("*.pt"), key=lambda path: _by_step(path.name)) if folder.is_dir() else []
        if not files:
            raise ConfigError(
                f"{WHERE}: {folder} must be a folder with checkpoints step-00000000.pt, ...; got none. Check the path."
            )
    else:
        files = [Path(each) for each in checkpoints]
        if not files:
            raise ConfigError(f"{WHERE}: there must be a checkpoint; got none. Pass a folder or files.")
    steps: dict[int, Path] = {}
    for path in files:
        found = NAME.fullmatch(path.name)
        if not found:
            raise ConfigError(
                f"{WHERE}: checkpoints must be named step-%08d.pt, as step-00000120.pt; got {path.name!r}. Rename it, "
                "or move it elsewhere."
            )
        step = int(found[1])
        if steps and step <= max(steps):
            raise ConfigError(
                f"{WHERE}: checkpoints must be in the order of their steps; got step {step} after step {max(steps)}. "
                "Sort the files."
            )
        steps[step] = path
    return steps


def _shapes(x: Any) -> dict[str, Any]:
    """How many samples there are, and the shape of one, where inputs are one tensor."""
    return {"num_samples": num_samples(x), "sample": list(x.shape[1:]) if isinstance(x, Tensor) else None}


def _one_hot(task: Task, x: Tensor, y: Tensor) -> Tensor:
    C = task.outputs(x[:1])[0].numel()
    if y.is_floating_point() or y.dim() != 1 or not bool(((y >= 0) & (y < C)).all()):
        raise DataError(
            f"{WHERE}: labels must be integers in 0..{C - 1}, for {C} outputs; got others. "
            "Give labels of these classes, or targets from Python."
        )
    return F.one_hot(y.long(), C).double()


def _load(task: Task, path: Path) -> None:
    """The checkpoint's weights into the task's model."""
    state = read_state(path, where=WHERE)
    if not isinstance(state, Mapping):
        raise StoreError(
            f"{WHERE}: {path} must hold a state dict; got {type(state).__name__}. Save model.state_dict()."
        )
    own = task.model.state_dict()
    nested = next((name for name, value in state.items() if isinstance(value, Mapping) and name not in own), None)
    if nested is not None:
        raise StoreError(
            f"{WHERE}: {path} must hold a state dict; got one within {nested!r}. Save model.state_dict() alone."
        )
    check_tensors(f"the task's model at {path.name}", state, own, where=WHERE)
    check_finite(WHERE, path.name, state, DIVERGED)
    task.model.load_state_dict(state)


class _Table(contextlib.AbstractContextManager["_Table"]):
    """Rows by step, and on the disk where there is a folder, held by one process at a time."""

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], steps: Mapping[int, Path]) -> None:
        self.folder, self.settings, self.steps = folder, dict(settings), steps
        self.done: dict[str, dict[str, Any]] = {}
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "_Table":
        if self.folder is not None:
            if self.folder.exists() and not self.folder.is_dir():
                raise StoreError(f"{WHERE}: out must be a folder; got the file {self.folder}. Choose another path.")
            with refusals(WHERE, self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            self.stack.enter_context(locked(self.folder))
            if (self.folder / STATE).exists():
                self._resume(self.folder / STATE)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def _resume(self, path: Path) -> None:
        before = decoded(WHERE, path)
        if not isinstance(before, dict) or set(before) != {"settings", "checkpoints"}:
            raise StoreError(f"{WHERE}: {path} must be that of a complexity table; got others. Choose another folder.")
        if found := first_difference(before["settings"], self.settings, ""):
            place, old, new = found
            raise StoreError(
                f"{WHERE}: {path.parent} must hold the table of this call; got {place} = {old!r} there and {new!r} "
                "here. Choose another folder."
            )
        self.done = before["checkpoints"]
        gone = sorted(set(self.done) - {_key(step) for step in self.steps})
        if gone:
            raise StoreError(
                f"{WHERE}: every checkpoint of the table must still be there; got none of {gone[0]}. Restore it, or "
                "choose another folder."
            )

    def has(self, step: int, path: Path) -> bool:
        """The step's rows are there, of the very same file."""
        entry = self.done.get(_key(step))
        if entry is not None and entry["sha256"] != _sha256(path):
            raise StoreError(
                f"{WHERE}: {path} must be as it was when its rows were made; got another file. Restore it, or choose "
                "another folder."
            )
        return entry is not None

    def add(self, step: int, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        self.done[_key(step)] = {"sha256": _sha256(path), "rows": list(rows)}
        if self.folder is not None:
            checkpoints = {key: self.done[key] for key in sorted(self.done, key=_by_step)}
            state = {"settings": self.settings, "checkpoints": checkpoints}
            write_bytes(self.folder / STATE, encoded(state, sort_keys=False))

    def finished(self) -> list[dict[str, Any]]:
        rows = list(self._rows())
        if self.folder is not None:
            text = io.StringIO()
            table = csv.DictWriter(text, HEAD, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            write_bytes(self.folder / TABLE, text.getvalue().encode())
        return rows

    def _rows(self) -> Iterator[dict[str, Any]]:
        for key in sorted(self.done, key=_by_step):
            yield from self.done[key]["rows"]


def _key(step: int) -> str:
    return f"step-{step:08d}"


def _by_step(name: str) -> tuple[int, str]:
    """Sorts names that are filled up to the same number of digits, or longer, by step."""
    return len(name), name


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(WHERE, path)).hexdigest()
