"""The refusals that every room words alike."""

import pytest

from infotorch.errors import ConfigError, MissingExtraError, check_whole, require, unknown


@pytest.mark.parametrize(
    "got, todo",
    [
        ("nroms", "Did you mean 'norms'?"),
        ("vj", "Did you mean 'vjp'?"),
        ("zzz", "Choose one of these."),
        ("", "Choose"),
    ],
)
def test_unknown_names_the_nearest(got, todo):
    error = unknown("ops", "an op", got, ["grads", "norms", "vjp"])
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"ops: an op must be one of 'grads', 'norms', 'vjp'; got {got!r}. {todo}")


@pytest.mark.parametrize("value", [0, 1.0, True, "2", None])
def test_what_is_no_whole_number_of_at_least_one(value):
    check_whole("here", "steps", 1, 1)
    with pytest.raises(ConfigError, match=r"^here: steps must be a whole number of at least 1; got .*\. Correct steps"):
        check_whole("here", "steps", value, 1)


def test_a_missing_extra_says_what_to_run():
    with pytest.raises(MissingExtraError, match=r'report: needs no_such; .*Run: pip install "infotorch\[report\]"'):
        require("report", "no_such", "report")
