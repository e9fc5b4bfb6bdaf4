"""Which libraries give the right per-sample gradients of which layers: docs/coverage.md, from running them all.

python -m benchmarks.engine.coverage
"""

import json
import linecache
import logging
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine.configurations import CONFIGURATIONS, build
from benchmarks.engine.nets import Problem
from benchmarks.engine.race import OURS, PEERS, library, versions
from benchmarks.engine.rivals.readings import Call
from benchmarks.engine.workloads import AGREE, difference
from benchmarks.record import RESULTS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"
LINES = RESULTS / "coverage.jsonl"
EXACT = 1e-8
"""Relative difference in float64 up to which a gradient is right."""
FALLBACK = f'{OURS}, fallback="func"'
FORMS = {
    OURS: ("ours", "psg"),
    FALLBACK: ("ours", "psg"),
    "torch.func": ("torch_func", "psg"),
    "expanded weights": ("expanded_weights", "psg"),
    "BackPACK": ("backpack_extensions", "psg"),
    "Opacus, hooks": ("opacus_modules", "psg"),
    "Opacus, ewf": ("opacus_modules", "psg"),
    "Opacus, functorch": ("opacus_modules", "psg"),
    "Opacus, ghost": ("opacus_modules", "norms"),
    "nngeometry": ("nngeometry_objects", "psg"),
}
HEAD = """# Which layers, in which configurations

For whoever wants to know whether gradients of a layer can be trusted, here ([capture](capture.md)) and elsewhere.
Written by `python -m benchmarks.engine.coverage`, which builds each model below (float64, 4 samples, random weights),
asks every library for the gradient of each sample's loss, and compares with autograd, one sample's loss at a time; not
to be edited.

* **right**: all gradients agree to 1e-8; (float32) where a library fails in float64 and agrees to 1e-4 in float32
* **WRONG**: a result and no error; the number is the largest relative difference of a parameter's gradients (inf: of
  another shape)
* leaves out: no error, at most a warning, and nothing for a parameter that the loss depends on
* refuses: an error that the library itself raises for this case
* crashes: any other error

`fallback="func"` hands to torch.func the parameters that infotorch has no rule for, and those alone; it is never taken
unless asked for. Opacus has four forms: hooks, expanded weights (ewf), functorch, and ghost, which
gives norms alone and is compared as such. Of a layer that mixes samples (batch
normalization in train mode) there is no gradient of one sample by itself; what is compared is the gradient of its loss
in the batch.

"""


def truth(problem: Problem) -> dict[str, Tensor]:
    """{name: [N, *shape]}: the gradient of each sample's loss in this batch; zero where it does not depend on one."""
    losses = problem.each(problem.model(problem.x), problem.y)
    params = problem.params
    rows = [
        torch.autograd.grad(one, list(params.values()), retain_graph=True, materialize_grads=True, allow_unused=True)
        for one in losses
    ]
    return {name: torch.stack(column) for name, column in zip(params, zip(*rows, strict=True), strict=True)}


def verdict(form: Callable[[Problem], Call], name: str, norms: bool = False) -> dict[str, Any]:
    """``status``, with the ``error`` of a result or the ``message`` of an exception; in float32 if float64 fails."""
    problem = build(name)
    want = truth(problem.apart())
    wide = _verdict(form, problem, want, EXACT, norms)
    if wide["status"] != "crashes":
        return wide
    narrow = _verdict(form, problem.single(), want, AGREE, norms)
    return narrow | {"status": "right (float32)"} if narrow["status"] == "right" else wide


def _verdict(
    form: Callable[[Problem], Call], problem: Problem, want: dict[str, Tensor], limit: float, norms: bool
) -> dict[str, Any]:
    try:
        got = form(problem.apart())()
    except Exception as error:  # whatever a library raises is what is to be listed
        status = "refuses" if _refusal(error) else "crashes"
        return {"status": status, "message": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    if norms:
        got, want = {"norms": got}, {"norms": torch.cat([g.flatten(1) for g in want.values()], 1).norm(dim=1)}
    if lacking := [key for key in want if got.get(key) is None]:
        return {"status": "leaves out", "message": ", ".join(lacking)}
    error = difference(got, want)
    return {"status": "right" if error <= limit else "WRONG", "error": float(f"{error:.1e}")}


LIMITS = ("vmap: ", "Batching rule not implemented", "torch.func.", "During a grad (vjp, jvp, grad, etc) transform")
"""How torch.func's own refusals begin, which come from C++."""


def _refusal(error: BaseException) -> bool:
    """The innermost frame is a raise that somebody wrote, or the message is one of ``LIMITS``."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).lstrip()
    return str(error).startswith(LIMITS) or line.startswith(("raise", "assert"))


def column(name: str) -> dict[str, dict[str, Any]]:
    """{configuration: verdict} of one library."""
    rival, workload = FORMS[name]
    module = library(rival)
    assert module is not None
    form = module.gradients_with_fallback if name == FALLBACK else module.FORMS[workload][name]
    return {config: verdict(form, config, norms=workload == "norms") for config in CONFIGURATIONS}


def read() -> list[dict[str, Any]]:
    """The lines: first the versions, then a configuration each."""
    return [json.loads(line) for line in LINES.read_text().splitlines()]


def _cell(found: dict[str, Any]) -> str:
    if found["status"].startswith("right"):
        return found["status"].replace("right", "**right**")
    return f"WRONG {found['error']:.1g}" if found["status"] == "WRONG" else found["status"]


def text() -> str:
    """The page."""
    (installed, *lines) = read()
    head = ["", *FORMS]
    rows = [[line["configuration"], *(_cell(line[name]) for name in FORMS)] for line in lines]
    counts = ["right", *(str(sum(line[name]["status"].startswith("right") for line in lines)) for name in FORMS)]
    wrong = ["wrong or left out, without an error", *(str(_silent(name, lines)) for name in FORMS)]
    table = [head, ["---"] * len(head), *rows, counts, wrong]
    parts = [HEAD, *(f"| {' | '.join(row)} |\n" for row in table), "\n"]
    parts.append(
        f"Versions: {', '.join(f'{name} {number}' for name, number in sorted(installed['versions'].items()))}.\n"
    )
    refused = [line for line in lines if line[OURS]["status"] != "right"]
    if refused:
        parts.append("\n## What infotorch says where it refuses\n\n")
        parts += [f"* {line['configuration']}: `{line[OURS]['message']}`\n" for line in refused]
    return "".join(parts)


def _silent(name: str, lines: list[dict[str, Any]]) -> int:
    return sum(line[name]["status"] in ("WRONG", "leaves out") for line in lines)


def main() -> None:
    if absent := {PEERS[rival] for rival, _ in FORMS.values() if library(rival) is None}:
        raise SystemExit(
            f"coverage: every library must be there; got no {', '.join(sorted(absent))}. Run: make bench-engine"
        )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    columns = {name: column(name) for name in FORMS}
    lines = [{"versions": versions()}]
    lines += [{"configuration": config} | {name: columns[name][config] for name in FORMS} for config in CONFIGURATIONS]
    LINES.write_text("".join(json.dumps(line) + "\n" for line in lines))
    PAGE.write_text(text())
    for line in lines[1:]:
        print(f"{line['configuration']:36}", "  ".join(f"{_cell(line[name]):12}" for name in FORMS))


if __name__ == "__main__":
    main()
