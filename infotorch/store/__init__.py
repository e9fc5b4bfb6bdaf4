"""Runs on disk: whole after any crash, resumable, the same bytes for the same command."""

from infotorch.store.run import Run
from infotorch.store.run import open_run as open
from infotorch.store.tables import SELECTED, check_ending, write_selected, write_table
from infotorch.store.verify import verify
from infotorch.store.writer import RunWriter, begun, create, reopen

__all__ = [
    "SELECTED",
    "Run",
    "RunWriter",
    "begun",
    "check_ending",
    "create",
    "open",
    "reopen",
    "verify",
    "write_selected",
    "write_table",
]
