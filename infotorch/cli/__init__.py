"""The command line: ``infotorch <command>``, one file a command."""

from infotorch.cli.app import main as main
