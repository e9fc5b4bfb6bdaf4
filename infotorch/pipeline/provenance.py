"""What a run's numbers follow from: the task, the data, the machine; no time, no name of the machine."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from infotorch.data import Samples, inputs_digest
from infotorch.measures.digest import digest, digest_of_code, plain_repr
from infotorch.task import Task

__all__ = ["data_facts", "environment", "outputs_digest", "task_facts"]

NUM_PROBED = 8
"""Samples whose outputs tell one task from another that looks the same."""


def task_facts(task: Task) -> dict[str, Any]:
    """What a task is; its numbers are known by the parameters' digest.

    ``params`` is known by what it selects.
    """
    functions = {name: getattr(task, name) for name in ("forward", "target")}
    return {
        "model": {
            "name": _name_of(type(task.model)),
            "layers": plain_repr(task.model).splitlines(),
            "code": digest_of_code(task.model, state=False),
        },
        "loss": task.loss if isinstance(task.loss, str) else _code_facts(task.loss),
        "parameters": list(task.parameters()),
        **{name: _code_facts(function) for name, function in functions.items() if function is not None},
    }


def _code_facts(function: Any) -> dict[str, str]:
    return {"name": _name_of(function), "code": digest_of_code(function)}


def outputs_digest(task: Task, samples: Samples) -> str:
    """SHA-256 of the outputs of the first samples: what no look at code and parameters sees shows there."""
    x = samples.x[:NUM_PROBED].clone()  # as aligned as any other time, for the same bits
    task.check_inputs(x)
    with torch.no_grad():
        return digest([task.outputs(x)])


def _name_of(thing: Any) -> str:
    """Module and name of a function, or of the class of an object."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def data_facts(samples: Samples) -> dict[str, Any]:
    return {
        "digest": samples.digest(),
        "inputs": inputs_digest(samples.x),
        "x": {"shape": list(samples.x.shape), "dtype": str(samples.x.dtype)},
        "y": {"shape": list(samples.y.shape), "dtype": str(samples.y.dtype)},
        "label_names": samples.label_names,
    }


def environment(task: Task) -> dict[str, Any]:
    """What the last bits of the scores depend on besides the command; no time, no name of the machine."""
    versions = {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("infotorch", "torch", "numpy", "pyarrow")},
    }
    if torch.version.cuda is not None:
        versions["cuda"] = torch.version.cuda
    devices = sorted({str(value.device) for value in task.model.parameters()})
    return {
        "versions": versions,
        "threads": torch.get_num_threads(),
        "devices": {name: _device_name(torch.device(name)) for name in devices},
        "flags": {
            "matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
