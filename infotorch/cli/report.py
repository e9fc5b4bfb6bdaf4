"""``infotorch report``: one run, or several of the same samples, as one HTML file."""

import pathlib
import webbrowser
from typing import Annotated

import typer

from infotorch import report
from infotorch.cli.pages import page_of_folder
from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number
from infotorch.errors import ConfigError

BESIDE_HELP = (
    "Other runs of the same samples and labels, and folders of infotorch complexity, to stand on the same page."
)


def command(
    terminal: Terminal,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run, or of infotorch sweep beta or embed.")],
    beside: Annotated[list[str] | None, typer.Argument(metavar="[OTHER]...", help=BESIDE_HELP)] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="File to write; default RUN.html.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Writes the page and prints its path."""
    folder = pathlib.Path(run)
    again = page_of_folder(folder)
    if again is not None and beside:
        raise ConfigError(
            f"report: a run must be what others stand beside; got {run}, which infotorch sweep or embed wrote. Call it "
            "alone: its page is its own."
        )
    named = folder if folder.name not in ("", "..") else folder.resolve()
    file = pathlib.Path(html) if html is not None else named.with_name(f"{named.name}.html")
    if again is None:
        written = report.build(folder, file, beside=beside or ())
    else:  # its page is in the folder, where the command that made it says
        written = again(None if html is None else file)
    if terminal.json:
        terminal.result({"html": str(written), "bytes": written.stat().st_size})
    else:
        terminal.facts([("report", f"{written} ({number(written.stat().st_size / 1e6)} MB)")])
    if show and not webbrowser.open(written.resolve().as_uri()):
        terminal.say("No browser could be started; open the file yourself.")
