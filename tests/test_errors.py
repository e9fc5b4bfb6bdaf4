"""The refusals that every room words alike."""

import pathlib

import numpy as np
import pytest
import torch

from infotorch.errors import (
    ConfigError,
    MissingExtraError,
    check_choice,
    check_number,
    check_seed,
    check_whole,
    path_of,
    require,
    unknown,
)


@pytest.mark.parametrize(
    "got, todo",
    [
        ("nroms", "Did you mean 'norms'?"),
        ("vj", "Did you mean 'vjp'?"),
        ("VJP", "Did you mean 'vjp'?"),
        ("zzz", "Choose one of these."),
        ("", "Choose"),
    ],
)
def test_unknown_names_the_nearest(got, todo):
    error = unknown("ops", "an op", got, ["grads", "norms", "vjp"])
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"ops: an op must be one of 'grads', 'norms', 'vjp'; got {got!r}. {todo}")


@pytest.mark.parametrize("got", [np.array(["full", "kfac"]), ["full"], b"full", 3, None, "Full"])
def test_what_is_no_word_is_no_choice(got):
    with pytest.raises(ConfigError, match=r"fisher: structure must be one of 'full', 'kfac'; got .*\. "):
        check_choice("fisher", "structure", got, ("full", "kfac"))


def test_none_may_be_a_choice():
    check_choice("capture", "fallback", None, (None, "func"))
    check_choice("capture", "fallback", "func", (None, "func"))
    with pytest.raises(ConfigError, match=r"must be one of None, 'func'; got 'fun'. Did you mean 'func'\?"):
        check_choice("capture", "fallback", "fun", (None, "func"))


@pytest.mark.parametrize("value", [0, 1.0, True, "2", None])
def test_what_is_no_whole_number_of_at_least_one(value):
    check_whole("here", "steps", 1, 1)
    with pytest.raises(ConfigError, match=r"^here: steps must be a whole number of at least 1; got .*\. Correct steps"):
        check_whole("here", "steps", value, 1)


def test_a_missing_extra_says_what_to_run():
    with pytest.raises(MissingExtraError, match=r'report: needs no_such; .*Run: pip install "infotorch\[report\]"'):
        require("report", "no_such", "report")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.float64(2), torch.tensor(2.0), np.asarray(2)])
def test_numbers_may_come_from_numpy_and_torch(value):
    found = check_number("scrub", "noise", value, "Pass one.")
    assert found == 2 and type(found) in (int, float)


@pytest.mark.parametrize("value", [None, "2", [2.0], (), True, torch.ones(1), np.ones(2), object(), 1j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match=rf"^scrub: noise must be a number; got {type(value).__name__}.* Pass one\.$"):
        check_number("scrub", "noise", value, "Pass one.")


@pytest.mark.parametrize("seed", [None, "1", 1.0, True, 2**64, [1], torch.ones(2)])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match=r"^info: seed must be a whole number below 2"):
        check_seed("info", seed)
    assert check_seed("info", np.int64(3)) == check_seed("info", torch.tensor(3)) == 3


@pytest.mark.parametrize("value", [None, 3, ["run"]])
def test_what_is_no_path(value):
    assert path_of("weigh", "out", "run") == path_of("weigh", "out", pathlib.Path("run"))
    with pytest.raises(ConfigError, match=r"weigh: out must be a path; got \w+. Give a str or a pathlib.Path."):
        path_of("weigh", "out", value)
