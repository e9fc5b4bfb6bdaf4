"""``infotorch demo``: the main job on handwritten digits, a tenth of them mislabeled on purpose."""

import dataclasses
import pathlib
from typing import Annotated

import typer

from infotorch import demo
from infotorch.cli.flags import whole
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number


def command(
    terminal: Terminal,
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for the run and the report.")] = "infotorch-demo",
    seed: Annotated[int, typer.Option(parser=whole(0), metavar="INTEGER", help="Of split, flips and weights.")] = 0,
) -> None:
    """Trains, scores, retrains a few for real; prints the ten most suspicious and how many flips were found."""
    with terminal.progress() as progress:
        found = demo.run(pathlib.Path(out), seed=seed, progress=progress)
    if terminal.json:
        result = dataclasses.asdict(found)
        terminal.result(result | {"run": str(found.run), "report": str(found.report)})
        return
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
    terminal.facts([
        ("which is", "the chance that a flipped label ranks above another, by own residual"),
        ("precision", f"{found.precision:.3f} among the first {found.num_flipped}, as many as were flipped"),
        ("retraining", f"Pearson {found.pearson:.4f}, Spearman {found.spearman:.4f} with samples left out for real"),
        ("accuracy", f"{found.accuracy:.3f} on other digits"),
        ("run", str(found.run)),
        ("report", str(found.report)),
    ])  # fmt: skip
