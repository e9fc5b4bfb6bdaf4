"""``infotorch doctor``: what is here, what was built, what is missing and how to add it."""

import importlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from typing import Any

from infotorch.cli.terminal import Terminal
from infotorch.errors import ConfigError

LIBRARIES = ("torch", "numpy", "pyarrow", "typer", "rich")


class UnwellError(ConfigError):
    """infotorch can't compute here."""


def command(terminal: Terminal) -> None:
    """Prints versions, devices, threads, instruction set, the build and the missing extras."""
    found = {
        "versions": {"infotorch": version("infotorch"), "python": platform.python_version()}
        | {library: version(library) for library in LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **torch_facts(),
        "build": build_facts(),
        "extras": extras(),
    }
    if terminal.json:
        terminal.result(found)
    else:
        terminal.facts(lines(found))
    if found["trouble"] or "trouble" in found["build"]:
        raise UnwellError(
            f"doctor: torch and the extension must load; got {found['trouble'] or found['build']['trouble']}. "
            "Run: pip install -e . in the checkout, or pip install --force-reinstall infotorch."
        )


def version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_facts() -> dict[str, Any]:
    """Devices, threads and instruction set as torch sees them; ``trouble`` says why it doesn't load."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return {"devices": [], "threads": None, "instruction_set": None, "trouble": f"torch: {error}"}
    devices = ["cpu"]
    devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return {
        "devices": devices,
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "trouble": None,
    }


def build_facts() -> dict[str, Any]:
    """What ``_C`` says of its build, or why it doesn't load."""
    try:
        importlib.import_module("torch")  # _C is linked against it
        facts = importlib.import_module("infotorch._C").build
    except ImportError as error:
        return {"trouble": f"infotorch._C: {error}"}
    return dict(facts() if callable(facts) else facts)


def extras() -> dict[str, dict[str, Any]] | None:
    """For each extra of infotorch what it lacks, and the command that adds it; None where infotorch isn't installed."""
    try:
        distribution = importlib.metadata.distribution("infotorch")
    except importlib.metadata.PackageNotFoundError:
        return None
    needs: dict[str, list[str]] = {name: [] for name in distribution.metadata.get_all("Provides-Extra") or []}
    for line in distribution.requires or []:
        marked = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if marked and marked[1] in needs:
            needs[marked[1]].append(line.partition(";")[0].strip())
    return {
        name: {"missing": missing(name, needs), "command": f'pip install "infotorch[{name}]"'} for name in sorted(needs)
    }


def missing(extra: str, needs: Mapping[str, list[str]]) -> list[str]:
    """The requirements of an extra that are absent or too old, those of the extras it includes among them."""
    found = []
    for requirement in needs[extra]:
        parts = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?\s*(?:\(?\s*(?:>=|==)\s*([\d.]+))?", requirement)
        assert parts is not None
        if parts[1] == "infotorch":
            found += [m for other in (parts[2] or "").split(",") for m in missing(other.strip(), needs)]
        else:
            have = version(parts[1])
            if have is None or (parts[3] and release(have) < release(parts[3])):
                found.append(requirement if have is None else f"{requirement} (got {have})")
    return sorted(set(found))


def release(text: str) -> tuple[int, ...]:
    """(2, 13) of 2.13.0rc1+cpu: trailing zeros don't count."""
    numbers = [int(n) for n in re.match(r"\d*(?:\.\d+)*", text)[0].split(".") if n]  # type: ignore[index]  # matches ""
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts as they are read."""
    shown = [(name, have or ("a checkout, not installed" if name == "infotorch" else "missing"))
             for name, have in found["versions"].items()]  # fmt: skip
    shown += [
        ("platform", found["platform"]),
        ("cores", str(found["cores"])),
        ("threads", str(found["threads"])),
        ("instruction set", str(found["instruction_set"])),
        ("devices", ", ".join(found["devices"]) or "none"),
    ]
    build = dict(found["build"])
    if "cuda_archs" in build:
        shown.append(("build: CUDA kernels", said(build.pop("cuda_archs")) or "not built"))
    shown += [(f"build: {key.replace('_', ' ')}", said(value)) for key, value in build.items()]
    if found["extras"] is None:
        return [*shown, ("extras", "known only of an installed infotorch. Run: pip install -e . in the checkout")]
    for name, state in found["extras"].items():
        lacks = f"lacks {', '.join(state['missing'])}. Run: {state['command']}"
        shown.append((f"extra: {name}", lacks if state["missing"] else "complete"))
    return shown


def said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
