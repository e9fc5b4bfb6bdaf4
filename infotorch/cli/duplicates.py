"""``infotorch duplicates``: samples that are nearly the same to the network, on the terminal and as a file."""

import pathlib
import shlex
from typing import Annotated

import typer

from infotorch import curation, store
from infotorch.cli.failures import Usage
from infotorch.cli.flags import TABLE_HELP, whole
from infotorch.cli.terminal import Terminal
from infotorch.errors import ConfigError

SHOWN = 20
FEATURES_HELP = "Folder of the features that the run was scored from: score --form primal --features FOLDER."
THRESHOLD_HELP = "Least cosine of two samples' features; 1 for equal ones alone."
LIMIT_HELP = "Samples that may be compared, each with each."


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")],
    features: Annotated[str, typer.Option(metavar="FOLDER", help=FEATURES_HELP)],
    threshold: Annotated[float, typer.Option(metavar="NUMBER", help=THRESHOLD_HELP)] = 0.99,
    max_samples: Annotated[int, typer.Option(parser=whole(1), metavar="N", help=LIMIT_HELP)] = curation.MAX_SAMPLES,
    out: Annotated[str | None, typer.Option(metavar="FILE", help=TABLE_HELP)] = None,
) -> None:
    """Prints the most similar pairs, and how many samples could be left out."""
    opened = store.open(pathlib.Path(run))
    try:
        if out is not None:
            store.check_ending("duplicates", out)
        with terminal.progress() as progress:
            found = curation.duplicates(
                features, opened, threshold=threshold, max_samples=max_samples, progress=progress
            )  # fmt: skip
    except ConfigError as error:
        raise Usage(str(error)) from error
    if out is not None:
        found.write(out)
    differ = None if found.labels_differ is None else int(found.labels_differ.sum())
    if terminal.json:
        terminal.result({
            "run": run, "threshold": threshold, "num_samples": found.num_samples, "num_pairs": len(found),
            "num_redundant": len(found.redundant), "num_labels_differ": differ, "out": out,
            "groups": [group.tolist() for group in found.groups], "pairs": found.table().to_pylist(),
        })  # fmt: skip
        return
    terminal.say(f"{len(found):,} pairs of {found.num_samples:,} samples have a cosine of at least {threshold:g}.")
    rows = found.table().slice(0, SHOWN).to_pylist()
    if rows:
        terminal.say()
        head = ["id", "label", "id", "label", "group", "cosine"]
        sides = [[cell for side in "ab" for cell in (row[f"id_{side}"], row.get(f"label_{side}", ""))] for row in rows]
        ends = [[str(row["group"]), "equal" if row["exact"] else f"{row['similarity']:.5f}"] for row in rows]
        terminal.table(head, [side + end for side, end in zip(sides, ends, strict=True)], right=(4, 5))
        terminal.say()
    if len(rows) < len(found):
        terminal.say(f"These are the first {len(rows)}. With --out FILE.csv all are written.")
    facts = [("groups", f"{len(found.groups):,}; leaving out all but one of each drops {len(found.redundant):,}")]
    if differ is not None:
        facts.append(("labels", f"differ in {differ:,} pairs" + (": one of the two may be wrong" if differ else "")))
    terminal.facts(facts + ([] if out is None else [("written", shlex.quote(out))]))
