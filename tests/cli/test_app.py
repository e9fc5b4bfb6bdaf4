import os
import re
import subprocess
import sys

import pytest

from infotorch.cli.app import COMMANDS


def python(*argv, **options):
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=120, **options)


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
            "infotorch: a command must be one of 'demo', 'score', 'report', 'show', 'verify', 'doctor'; got 'scor'. "
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
    script = f"""
import sys
from infotorch.cli import main
code = main({words})
sys.exit(9 if "torch" in sys.modules else code)
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["doctor"], ["doctor", "--json"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_news(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "infotorch", *words], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(write)
    assert "Pipe" not in done.stderr and "Traceback" not in done.stderr and done.returncode == 1


def test_a_terminal_without_the_letters_gets_their_codes():
    script = """
from infotorch.cli import main
from infotorch.cli.terminal import Terminal
main(["--version"])
Terminal().say("a → b")
"""
    done = python("-c", script, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0 and r"a \u2192 b" in done.stdout


def test_help_has_no_color_where_none_is_wanted():
    env = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[3" not in python("-m", "infotorch", "--help", env=env).stdout
