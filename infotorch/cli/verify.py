"""``infotorch verify``: is every file of a run what its manifest says?"""

import pathlib
from typing import Annotated

import typer

from infotorch import store
from infotorch.cli.terminal import Terminal


def command(terminal: Terminal, run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")]) -> None:
    """Compares all hashes; fails naming the first file that differs."""
    files = [str(file) for file in store.verify(pathlib.Path(run))]
    if terminal.json:
        terminal.result({"run": run, "files": files})
    else:
        terminal.say(f"{run}: whole, {len(files)} {'file' if len(files) == 1 else 'files'} as the manifest says")
