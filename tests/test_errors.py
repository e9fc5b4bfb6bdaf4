"""The two refusals that every room words alike."""

import pytest

from infotorch.errors import ConfigError, MissingExtraError, require, unknown


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


def test_a_missing_extra_says_what_to_run():
    with pytest.raises(MissingExtraError, match=r'report: needs no_such; .*Run: pip install "infotorch\[report\]"'):
        require("report", "no_such", "report")
