"""What a run of ``infotorch score`` would take, shown before it is made."""

import dataclasses
import textwrap

from infotorch.cli.progress import duration
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import count, number
from infotorch.pipeline import ScorePlan

__all__ = ["show_plan"]

WIDE = 80
MISSING = "not estimated"


def show_plan(terminal: Terminal, plan: ScorePlan, out: str | None) -> None:
    """Prints the plan; with ``--json`` as JSON, seconds and bytes."""
    if terminal.json:
        terminal.result({
            "run": out,
            **dataclasses.asdict(plan),
            "seconds": plan.seconds,
            "disk": plan.disk("samples", "scores", "features", "outputs"),
            "fits_disk": plan.fits_disk,
        })  # fmt: skip
        return
    if plan.finished:
        terminal.say(f"The run {out} is there, whole: its scores would be read, and nothing computed.")
        return
    terminal.say(f"Nothing was scored or kept: this is what {count(plan.num_samples)} samples would take.")
    terminal.say()
    for each in plan.measures:
        rate = "" if each.samples_per_second is None else f", {number(each.samples_per_second)} samples a second"
        said(terminal, f"{each.name}, {each.form}{rate}: {each.why}")
        if each.effective_dimension is not None:
            said(terminal, f"training uses {each.effective_dimension:,.0f} directions of the samples tried", 2)
        for note in each.notes:
            said(terminal, note, 2)
    terminal.say()
    known = f"over {number(plan.known_seconds)}" if plan.known_seconds else MISSING
    all_of_it = known if plan.seconds is None else number(plan.seconds)
    rows = [] if plan.keeping_seconds is None else [["keeping samples", "", spoken(plan.keeping_seconds)]]
    rows += [[stage, each.name, spoken(seconds)] for each in plan.measures for stage, seconds in each.seconds.items()]
    terminal.table(["stage", "measure", "seconds"], [*rows, ["in all", "", all_of_it]], right=[2])
    terminal.say()
    terminal.facts([("time", time(plan)), ("memory", memory(plan)), *disk(plan)])


def spoken(seconds: float | None) -> str:
    return MISSING if seconds is None else number(seconds)


def size(num_bytes: int | None) -> str:
    """In binary units, to three digits."""
    if num_bytes is None:
        return MISSING
    value, unit = float(num_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{number(value) if unit != 'bytes' else count(num_bytes)} {unit}"


def time(plan: ScorePlan) -> str:
    if plan.seconds is not None:
        return duration(plan.seconds)
    return f"over {duration(plan.known_seconds)}" if plan.known_seconds else MISSING


def memory(plan: ScorePlan) -> str:
    if plan.memory is None:
        return MISSING
    return f"{size(plan.memory)} at the peak, of which {size(plan.memory_before)} are in use before the run"


def disk(plan: ScorePlan) -> list[tuple[str, str]]:
    if plan.disk_free is None:
        return []
    facts = [("disk", f"{size(plan.disk('samples', 'scores'))} for samples and scores, {size(plan.disk_free)} free")]
    features = plan.disk("features", "outputs")
    if features != 0:
        free = "" if plan.features_free is None else f", {size(plan.features_free)} free there"
        facts.append(("", f"{size(features)} for features{free}"))
    if plan.fits_disk is False:
        facts.append(("", "not enough: the run would stop when the disk is full"))
    return facts


def said(terminal: Terminal, text: str, indent: int = 0) -> None:
    """A sentence over as many lines as it needs."""
    for line in textwrap.wrap(text, WIDE, initial_indent=" " * indent, subsequent_indent="  "):
        terminal.say(line)
