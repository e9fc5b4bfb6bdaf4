"""docs/engine-results.md and its plot, from the lines in benchmarks/results. Run: python -m benchmarks.engine.page."""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.engine import RESULTS
from benchmarks.engine.nets import NETS
from benchmarks.engine.overhead import RESULTS as OVERHEAD
from benchmarks.engine.race import OURS
from benchmarks.engine.workloads import WORKLOADS
from benchmarks.record import read

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "engine-results.md"
PLOT = PAGE.with_suffix(".svg")
HOOKS = "plain hooks"
GOALS = {
    "psg": {"mlp": 6, "cnn": 1.05, "resnet8": 1.2, "tfm": 1.05},
    "norms": {"mlp": 0.95, "cnn": 1.0, "resnet8": 1.1, "tfm": 0.95},
    "gram": {"mlp": 0.95, "cnn": 1.05, "tfm": 1.15},
    "ntk": {"cnn": 8},
    "diag": {"mlp": 1.1, "cnn": 1.1},
    "kfac": {"mlp": 0.95, "cnn": 1.3},
    "out-jvp-1": {"mlp": 1.1, "cnn": 1.07},
    "out-jvp-16": {"mlp": 4},
    "ntk-vector": {"mlp": 1.9, "cnn": 1.86},
    "sketch": {"mlp": 8},
}
"""What was aimed at, in units of a forward and backward."""
SHORT = ("psg", "norms", "gram", "ntk", "diag", "kfac", "jvp-16", "sketch")
"""Workloads of the table that the README shows."""
SHORT_NETS = ("mlp", "cnn", "resnet18", "tfm", "gpt")
"""And its networks."""
HEAD = """# Per-sample gradients and what stands on them: what was measured

For whoever asks what [gradients of single samples](gradients.md) cost here and elsewhere, in time and memory. Written
by `python -m benchmarks.engine.page` from the lines in `benchmarks/results/engine-cpu.jsonl`, which
`make bench-engine` appends; not to be edited.

Every number of time is a multiple of a plain forward and backward of the same batch, measured in the same process:
least processor time of at least five rounds on one thread, each round all in an order drawn anew. A form that takes
more than eight times the fastest is timed twice. A form is timed only if its result agrees with a loop in float64 to
1e-4; what is wrong or fails is listed. Results are allocated anew by all but infotorch's and plain hooks' gradients,
which go into memory that was there. Extra memory is the process's peak during one call, beyond what was there and
beyond the result.

*plain hooks* is a program in plain PyTorch, `benchmarks/engine/rivals/plain_hooks.py`: forward hooks, gradients at the
layers' outputs alone, batched products, and for norms and inner products the cheaper of two routes.

Networks: `mlp` 784-512-512-10; `cnn` four 3x3 convolutions 32-64-64-128 on 3x32x32, `cnn-gn` the same with GroupNorm;
`resnet8` and `resnet18` with GroupNorm on 3x32x32; `tfm` an encoder of 2 blocks, width 128, 32 tokens; `gpt` 4 causal
blocks, width 128, 64 tokens, learnt positions, the head tied to the token table, a loss at every token; `gpt-lora` the
same frozen, with adapters of rank 8 on every Linear of its blocks.

"""


FIXED = """Two things are behind most of these rows.

*What a call costs beside its products.* On layers so small that computing is nothing (`python -m
benchmarks.engine.overhead`), a plain forward and backward takes {plain}, a capture {capture},
per-sample gradient norms {norms}. That buys checks of the batch, of the mode and of every use of a
parameter, which a program written for one network does without; it is paid once a batch, so that it fades with the
batch and the width. `mlp` at 32 samples is computed in about 2 ms.

*What is in float64.* A tangent kernel, and the sums over layers and batches, are; plain hooks multiplies in float32.
Scores that stand on a kernel magnify its rounding by its condition number, so that this is not for sale.

One tangent of the losses takes a forward and a backward here; in forward mode, as torch.func has it, two forwards.

"""


def fixed() -> str:
    """What a call costs beside its products, in words, of the last line; nothing where there is none."""
    measured = read(OVERHEAD)[-1:]
    words = {
        key: f"{line[name]['once_us']:.0f} us and {line[name]['a_layer_us']:.0f} us a layer"
        for line in measured
        for key, name in (("plain", "forward+backward"), ("capture", "capture"), ("norms", "norms"))
    }
    return FIXED.format(**words) if measured else ""


def lines() -> dict[tuple[str, str], dict[str, Any]]:
    """The last line of each (workload, network), in the order of the page."""
    found = {(line["case"]["workload"], line["case"]["net"]): line for line in read(RESULTS)}
    return {(w, n): found[w, n] for w in WORKLOADS for n in NETS if (w, n) in found}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    head = list(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows)) + "\n"


def fastest_library(line: dict[str, Any]) -> tuple[str, float] | None:
    """(name, multiple) of the fastest that is neither ours nor the plain program."""
    others = {name: x for name, x in line["x_plain"].items() if name not in (OURS, HOOKS)}
    return min(others.items(), key=lambda item: item[1]) if others else None


def behind() -> list[tuple[str, str, str, float]]:
    """(workload, network, who, ours over theirs) wherever somebody is ahead of infotorch, the worst first."""
    found = []
    for (workload, net), line in lines().items():
        if ours := line["x_plain"].get(OURS):
            name, best = min(line["x_plain"].items(), key=lambda item: item[1])
            if name != OURS:
                found.append((workload, net, name, ours / best))
    return sorted(found, key=lambda row: -row[-1])


def _of(line: dict[str, Any], name: str) -> str:
    if name in line["x_plain"]:
        return f"{line['x_plain'][name]:.2f}"
    if name in line["wrong"]:
        return f"wrong, {line['error'][name]:.0e}"
    return "fails" if name in line["unable"] else ""


def _mib(line: dict[str, Any], name: str) -> str:
    return f"{line['extra_mib'][name]:.0f}" if name in line["extra_mib"] else ""


def _summary() -> Iterator[list[str]]:
    for (workload, net), line in lines().items():
        best = fastest_library(line)
        ours = line["x_plain"].get(OURS)
        rivals = [x for name, x in line["x_plain"].items() if name != OURS]
        goal = GOALS.get(workload, {}).get(net)
        yield [
            workload,
            net,
            str(line["case"]["N"]),
            _of(line, OURS),
            _of(line, HOOKS),
            "" if best is None else f"{best[1]:.2f} {best[0]}",
            "" if ours is None or not rivals else f"{min(rivals) / ours:.2f}",
            "" if goal is None else f"{goal:g}",
            _mib(line, OURS),
            _mib(line, "forward+backward"),
            "" if best is None else _mib(line, best[0]),
        ]


def short() -> str:
    """What the README shows: infotorch's multiple, and in brackets the best of all others."""
    found = lines()
    nets = [net for net in SHORT_NETS if any(key[1] == net for key in found)]
    rows = []
    for workload in SHORT:
        cells = []
        for net in nets:
            line = found.get((workload, net))
            others = {} if line is None else {name: x for name, x in line["x_plain"].items() if name != OURS}
            best = min(others, key=lambda name: others[name]) if others else None
            own = "" if line is None else _of(line, OURS)
            cells.append(own if best is None else f"{own or '-'} ({others[best]:.2f} {best})")
        rows.append([WORKLOADS[workload].title, *cells])
    return table(["", *nets], rows)


def _workload(key: str) -> str:
    found = {net: line for (workload, net), line in lines().items() if workload == key}
    names = sorted(
        {name for line in found.values() for kind in ("x_plain", "error", "unable") for name in line[kind]} - {OURS},
        key=lambda name: (name != HOOKS, name),
    )
    rows = [[net, *(_of(line, name) for name in (OURS, *names))] for net, line in found.items()]
    parts = [f"### {key}: {WORKLOADS[key].title}\n\n", table(["", OURS, *names], rows)]
    said: dict[str, list[str]] = {}
    for net, line in found.items():
        for name, message in line["unable"].items():
            said.setdefault(f"{name}: `{message.replace('`', '')}`", []).append(net)
    parts += [f"* {', '.join(nets)}, {text}\n" for text, nets in said.items()]
    return "".join(parts) + ("\n" if said else "")


def points() -> list[dict[str, Any]]:
    """What the plot shows: every form that is right, at least ours and the best two others a case."""
    return [
        {"workload": workload, "net": net, "x": x, "who": name if name in (OURS, HOOKS) else "library", "name": name}
        for (workload, net), line in lines().items()
        for name, x in line["x_plain"].items()
    ]


def digest() -> str:
    """Of what the plot was drawn from; it is written into the drawing."""
    return hashlib.sha256(json.dumps(points(), sort_keys=True).encode()).hexdigest()[:16]


def draw() -> str:
    """The plot as SVG: a panel a workload, a row a network, time on a log axis."""
    import altair as alt
    import vl_convert

    chart = (
        alt.Chart(alt.Data(values=points()))
        .mark_point(filled=True, opacity=0.85, size=55)
        .encode(
            x=alt.X("x:Q", title="times a forward and backward", scale=alt.Scale(type="log")),
            y=alt.Y("net:N", title=None, sort=list(NETS)),
            color=alt.Color(
                "who:N",
                title=None,
                scale=alt.Scale(domain=[OURS, HOOKS, "library"], range=["#D55E00", "#0072B2", "#999999"]),
            ),
            shape=alt.Shape("who:N", scale=alt.Scale(domain=[OURS, HOOKS, "library"]), title=None),
        )
        .properties(width=230, height=150)
        .facet(facet=alt.Facet("workload:N", title=None, sort=list(WORKLOADS)), columns=3)
        .resolve_scale(x="independent")
    )
    svg = vl_convert.vegalite_to_svg(json.dumps(chart.to_dict()))
    return f"<!-- drawn from {digest()} -->\n{svg}\n"


def text() -> str:
    """The page."""
    found = lines()
    last = next(reversed(found.values()))
    peers = ", ".join(f"{name} {number}" for name, number in sorted(last["peers"].items()))
    head = ["workload", "network", "N", OURS, HOOKS, "fastest library", "ahead by", "goal"]
    head += ["MiB", "MiB plain", "MiB fastest library"]
    names = f"Workloads by their short names: {'; '.join(f'`{key}` {w.title}' for key, w in WORKLOADS.items())}.\n\n"
    parts = [HEAD, f"{last['machine']}, one thread; {peers}.\n\n", "## In short\n\n", short()]
    parts += [f"![Times of all forms]({PLOT.name})\n\n", names, "## Where somebody is ahead\n\n"]
    rows = [[workload, net, name, f"{ratio:.2f}"] for workload, net, name, ratio in behind()]
    parts.append(table(["workload", "network", "who", "infotorch takes, of theirs"], rows) if rows else "Nowhere.\n\n")
    parts.append(fixed())
    parts += ["## Every workload on every network\n\n", table(head, _summary())]
    parts.append("## Every form\n\n")
    parts += [_workload(key) for key in WORKLOADS if any(workload == key for workload, _ in found)]
    return "".join(parts).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())
    PLOT.write_text(draw())
