"""``infotorch demo``: on handwritten digits, some of them mislabelled on purpose, what infotorch is for."""

import dataclasses
import pathlib
import textwrap
from typing import Annotated, Literal

import typer

from infotorch import demo
from infotorch.cli.failures import Usage
from infotorch.cli.flags import whole
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number

OUT_HELP = "Folder for run and report. \\[default: infotorch-demo, or infotorch-demo-all, …-limit, …-bounds, …-distill]"
WIDE = 68
"""Of a chapter's finding, beside its name."""
ALL_HELP = "Every chapter on all 1,797 digits, in one report that joins them by sample."


def command(
    terminal: Terminal,
    what: Annotated[
        Literal["scores", "limit", "bounds", "distill"],
        typer.Argument(
            metavar="[scores|limit|bounds|distill]",
            help="Score every digit, train in spite of wrong labels, bound the generalization gap, or distil.",
        ),
    ] = "scores",
    out: Annotated[str | None, typer.Option(metavar="DIR", help=OUT_HELP)] = None,
    seed: Annotated[int, typer.Option(parser=whole(0), metavar="INTEGER", help="Of split, flips and weights.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help=ALL_HELP)] = False,
) -> None:
    """Shows one of the four on digits; prints what was found."""
    if everything and what != "scores":
        raise Usage(f"demo: --all belongs to scores; got {what}. Leave one of them out.")
    if what == "distill":
        with terminal.progress() as live:
            show_distill(
                terminal, demo.run_distill(pathlib.Path(out or "infotorch-demo-distill"), seed=seed, progress=live)
            )
        return
    found: demo.DemoResult | demo.AllDemoResult | demo.LimitDemoResult | demo.BoundsDemoResult
    if what == "limit":
        progress = False if terminal.quiet else True
        found = demo.run_limit(pathlib.Path(out or "infotorch-demo-limit"), seed=seed, progress=progress)
    elif what == "bounds":
        with terminal.progress() as live:
            found = demo.run_bounds(pathlib.Path(out or "infotorch-demo-bounds"), seed=seed, progress=live)
    elif everything:
        with terminal.progress() as live, terminal.warnings():
            found = demo.run_all(pathlib.Path(out or "infotorch-demo-all"), seed=seed, progress=live)
    else:
        with terminal.progress() as live:
            found = demo.run(pathlib.Path(out or "infotorch-demo"), seed=seed, progress=live)
    if isinstance(found, demo.BoundsDemoResult):
        show_bounds(terminal, found)
    elif terminal.json:
        terminal.result(dataclasses.asdict(found) | {"run": str(found.run), "report": str(found.report)})
    elif isinstance(found, demo.LimitDemoResult):
        show_limit(terminal, found)
    elif isinstance(found, demo.AllDemoResult):
        show_all(terminal, found)
    else:
        show_scores(terminal, found)


def show_suspicious(terminal: Terminal, found: demo.DemoResult | demo.AllDemoResult) -> None:
    terminal.say("The ten most suspicious digits:")
    terminal.say()
    terminal.table(
        ["id", "given → suggested", "true", "what it is", "own residual", "information [nats]"],
        [
            [
                str(row["id"]),
                f"{row['given']} → {row['suggested']}" if row["given"] != row["suggested"] else str(row["given"]),
                str(row["true"]),
                "flipped" if row["flipped"] else "not flipped",
                number(float(str(row["own_residual"]))),
                number(float(str(row["unique_information_functions"]))),
            ]
            for row in found.suspicious
        ],
        right=[4, 5],
    )
    terminal.say()
    terminal.say(f"AUROC {found.auroc:.3f}")


def ranked(found: demo.DemoResult | demo.AllDemoResult) -> list[tuple[str, str]]:
    """What the figures of flipped labels mean."""
    return [
        ("which is", "the chance that a flipped label ranks above another, by own residual"),
        ("precision", f"{found.precision:.3f} among the first {found.num_flipped}, as many as were flipped"),
    ]


def show_scores(terminal: Terminal, found: demo.DemoResult) -> None:
    show_suspicious(terminal, found)
    terminal.facts([
        *ranked(found),
        ("retraining", f"Pearson {found.pearson:.4f}, Spearman {found.spearman:.4f} with samples left out for real"),
        ("accuracy", f"{found.accuracy:.3f} on other digits"),
        ("run", str(found.run)),
        ("report", str(found.report)),
    ])  # fmt: skip


def show_all(terminal: Terminal, found: demo.AllDemoResult) -> None:
    show_suspicious(terminal, found)
    rank, use = f"Spearman {found.spearman:.3f}", f"{found.directions:,.0f} directions in use"
    terminal.facts([
        *ranked(found),
        ("fidelity", f"{rank} with exact information in weights, on {found.num_compared} digits"),
        ("sketch", f"{found.dim:,} numbers, for {use} by {found.num_samples:,} digits"),
        *((name if not i else "", line) for name, text in found.chapters.items()
          for i, line in enumerate(textwrap.wrap(text, WIDE))),
        ("run", str(found.run)),
        ("report", str(found.report)),
    ])  # fmt: skip


def show_limit(terminal: Terminal, found: demo.LimitDemoResult) -> None:
    terminal.say("The ten most suspicious labels:")
    terminal.say()
    terminal.table(
        ["id", "given → suggested", "true", "what it is", "label score"],
        [
            [
                row["id"],
                f"{row['given']} → {row['suggested']}",
                str(row["true"]),
                "flipped" if row["flipped"] else "not flipped",
                number(row["score"]),
            ]
            for row in found.suspicious
        ],
        right=[4],
    )
    terminal.say()
    terminal.say(
        f"Accuracy on other digits: LIMIT {100 * found.accuracy_limit:.1f} %, "
        f"cross-entropy {100 * found.accuracy_ce:.1f} %"
    )
    terminal.facts([
        ("memorised", f"LIMIT {found.memorised_limit}, cross-entropy {found.memorised_ce} of {found.num_wrong} labels"
         " flipped on purpose"),
        ("AUROC", f"{found.auroc:.3f}, the chance that a flipped label ranks above another, by label score"),
        ("precision", f"{found.precision:.3f} among the first {found.num_wrong}, as many as were flipped"),
        ("run", str(found.run)),
        ("report", str(found.report)),
    ])  # fmt: skip


def show_bounds(terminal: Terminal, found: demo.BoundsDemoResult) -> None:
    if terminal.json:
        counts = {"num_revealing": found.num_revealing, "num_items": found.num_items}
        reports = [report.as_dict() for report in found.reports]
        terminal.result({"reports": reports, **counts, "run": str(found.run), "report": str(found.report)})
        return
    terminal.say("Fours and nines, 3 × 20 networks for each n:")
    terminal.say()
    terminal.table(
        ["n", "train error", "test error", "gap", "f-CMI bound", "bound / gap", "kl bound on test error"],
        [
            [
                str(report.n),
                f"{report.train_error.mean():.4f}",
                f"{report.test_error.mean():.4f}",
                f"{report.gap:.4f}",
                f"{report['fcmi'].value:.4f}",
                f"{report['fcmi'].value / report.gap:.1f}" if report.gap > 0 else "",
                f"{report['kl'].value:.4f}",
            ]
            for report in found.reports
        ],
        right=list(range(7)),
    )
    terminal.say()
    last = found.reports[-1]
    terminal.say(last.statement)
    terminal.facts([
        ("membership", f"predictions give away {found.num_revealing} of {found.num_items} digits: half a bit and more "
         "of whether it was trained on"),
        ("run", str(found.run)),
        ("report", str(found.report)),
    ])  # fmt: skip


def show_distill(terminal: Terminal, found: demo.DistillDemoResult) -> None:
    if terminal.json:
        terminal.result(dataclasses.asdict(found) | {"out": str(found.out), "results": str(found.results)})
        return
    terminal.say(f"Students of {found.num_train} digits, the mean of {found.num_seeds} seeds ± its standard error:")
    terminal.say()
    terminal.table(
        ["trained on", "accuracy [%]", "agrees with the teacher [%]"],
        [
            [
                row.name,
                f"{100 * row.accuracy:.1f} ± {100 * row.accuracy_stderr:.1f}",
                f"{100 * row.fidelity:.1f} ± {100 * row.fidelity_stderr:.1f}",
            ]
            for row in found.rows
        ],
        right=[1, 2],
    )
    terminal.say()
    terminal.say(found.statement)
    terminal.facts([("teachers", str(found.out)), ("results", str(found.results))])
