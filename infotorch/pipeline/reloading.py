"""The measure of a run on disk, from its manifest, for who has made its task again."""

import json
from collections.abc import Mapping
from typing import Any

from infotorch import store
from infotorch.data import Samples, inputs_of
from infotorch.errors import ConfigError, StoreError
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest_of_model
from infotorch.pipeline.provenance import data_facts, task_facts
from infotorch.store.manifest import first_difference, plain
from infotorch.task import Task

__all__ = ["reloaded"]

WHERE = "fidelity"
HASHED = ("groups", "removed", "models")
"""Options of which a run keeps the hash alone."""


def reloaded(run: store.Run, task: Task, samples: Samples, test_data: Any) -> tuple[UniqueInformation, int | None]:
    """The measure that sketched the scores of ``run``, and the run's memory limit.

    Raises:
        StoreError: The run is not finished, or is of another task, network, data or test data; the text says which.
        ConfigError: It holds no sketched scores, or an option that can't be had from it.
    """
    if not run.finished:
        raise StoreError(
            f"{WHERE}: {run.path} must be a finished run; got one that was stopped. Run its command again: it goes on."
        )
    command = run.manifest["command"].get("score") or {}
    configs = [each for each in command.get("measures", []) if each["name"] == UniqueInformation.name]
    if not configs:
        raise ConfigError(
            f"{WHERE}: {run.path} must hold unique information; got {run.manifest['main'] or 'no scores'}. Score with "
            "--measure unique_information --form primal."
        )
    parameters = {"parameters": digest_of_model(task.model)}
    for name, there, now in (  # what says most to a reader first
        ("task", command["task"], task_facts(task)),
        ("provenance", run.manifest["provenance"], run.manifest["provenance"] | parameters),
        ("data", run.manifest["data"], data_facts(samples)),
    ):
        _check_same(run, {name: there}, {name: now})
    for config in configs:
        measure = _measure(config, test_data)
        _check_same(run, {"measure": config}, {"measure": {"name": measure.name, **measure.config()}})
        form = measure.chosen(measure.prepared(task, samples.x[:2], samples.y), command["memory_limit"], on_disk=True)
        if form.name == "primal" and not form.is_exact:
            return measure, command["memory_limit"]
    raise ConfigError(
        f"{WHERE}: {run.path} must hold sketched scores; got exact ones. Score with --form primal and a --dim below "
        "the number of parameters."
    )


def _measure(config: Mapping[str, Any], test_data: Any) -> UniqueInformation:
    """From what ``UniqueInformation.config`` gave, as JSON has it."""
    for name in HASHED:
        if config[name] is not None:
            raise ConfigError(
                f"{WHERE}: the run must be without {name}, of which it keeps the hash alone; got some. Call "
                "infotorch.pipeline.fidelity_curve with the measure itself."
            )
    options = {name: value for name, value in config.items() if name not in ("name", "test_data", *HASHED)}
    for name in ("steps", "time"):
        given = options[name]
        options[name] = [_number(each) for each in given] if isinstance(given, list) else _number(given)
    if config["test_data"] is not None and test_data is not None:
        options["test_data"] = inputs_of(test_data)
    return UniqueInformation(**options)


def _number(value: Any) -> Any:
    """JSON has no number for infinity; the manifest has the word."""
    return float(value) if isinstance(value, str) else value


def _check_same(run: store.Run, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if found := first_difference(there, plain(now, WHERE), ""):
        place, was, is_now = found
        shown = [text if len(text) <= 80 else f"{text[:77]}..." for text in map(json.dumps, (was, is_now))]
        raise StoreError(
            f"{WHERE}: {run.path} must be a run of this task and data; got {place} {shown[0]} there and {shown[1]} "
            "now. Restore what changed, or score again."
        )
