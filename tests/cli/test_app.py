import os
import pathlib
import re
import subprocess
import sys

import pytest

import infotorch
from infotorch.cli.app import COMMANDS

BARE = f"""
import sys, types
package = types.ModuleType("infotorch")  # the command line alone, without what the package imports for Python's users
package.__path__ = [{str(pathlib.Path(infotorch.__path__[0]))!r}]
sys.modules["infotorch"] = package
from infotorch.cli import main
from infotorch.cli.terminal import Terminal
"""


def python(script, **options):
    """A process that runs a script on the bare command line."""
    env = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", BARE + script], stderr=subprocess.PIPE, text=True, timeout=120, env=env, **options
    )


def test_the_list_of_commands_fits_80_columns_and_names_all(run):
    done = run("--help")
    assert done.code == 0 and done.err == ""
    assert max(map(len, done.out.splitlines())) <= 80
    assert all(re.search(rf"^│ {name} ", done.out, re.M) for name in COMMANDS)


def test_no_command_shows_the_commands_and_is_bad_usage(run):
    done = run()
    assert done.code == 2 and "doctor" in done.out and done.err == ""


def test_the_version_is_printed(run):
    done = run("--version")
    assert done.code == 0 and done.out.startswith("infotorch ") and done.out.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["scor"],
            "infotorch: a command must be one of 'demo', 'score', 'fidelity', 'summarize', 'train', 'bound', "
            "'complexity', 'report', 'show', 'label-errors', 'groups', 'duplicates', 'verify', 'doctor'; got 'scor'. "
            "Did you mean 'score'?",
        ),
        (["--vresion"], "infotorch: an option must be one it knows; got '--vresion'. Did you mean '--version'?"),
        (["doctor", "--jsn"], "doctor: an option must be one it knows; got '--jsn'. Did you mean '--json'?"),
        (["doctor", "--zzz"], "doctor: an option must be one it knows; got '--zzz'. Run: infotorch doctor --help."),
        (["verify"], "verify: RUN must be given; got nothing. Run: infotorch verify --help."),
        (["--quiet"], "infotorch: missing command. Run: infotorch --help."),
    ],
)
def test_a_typo_is_bad_usage_and_names_the_nearest(run, words, line):
    done = run(*words)
    if words == ["--quiet"]:
        assert done.code == 2
        return
    assert done == (2, "", line + "\n")


@pytest.mark.parametrize("place", [0, 1])
def test_common_options_stand_before_or_after_the_command(run, place):
    words = ["verify", "nowhere/at/all"]
    words.insert(place, "--debug")
    done = run(*words)
    assert done.code == 1 and "Traceback" in done.err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["verify", "--help"], ["show", "--help"]])
def test_what_needs_no_torch_does_not_wait_for_it(words):
    done = python(f"code = main({words}); sys.exit(9 if 'torch' in sys.modules else code)", stdout=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", ["sys.exit(main(['--help']))", "sys.exit(main(['doctor']))"])
def test_a_reader_that_goes_away_is_no_news(script):
    read, write = os.pipe()
    os.close(read)
    done = python(script, stdout=write)
    os.close(write)
    assert done.returncode == 1 and "Pipe" not in done.stderr and "Traceback" not in done.stderr


def test_a_terminal_without_the_letters_gets_their_codes():
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = python("main(['--version']); Terminal().say('a → b')", env=env, stdout=subprocess.PIPE)
    assert done.returncode == 0 and r"a \u2192 b" in done.stdout


@pytest.mark.parametrize("color", [True, False], ids=["color", "NO_COLOR"])
def test_help_has_no_color_where_none_is_wanted(color):
    env = {"TERM": "xterm-256color", "FORCE_COLOR": "1"} | ({} if color else {"NO_COLOR": "1"})
    done = python("main(['--help'])", env=env, stdout=subprocess.PIPE)
    assert ("\x1b[3" in done.stdout or "\x1b[1;3" in done.stdout) == color


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "infotorch", "scor"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.endswith("Did you mean 'score'?\n")
