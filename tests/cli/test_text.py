import pytest
from rich.cells import cell_len

from infotorch.cli.text import count, number, one_line, plain


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("[red]x[/red]", "[red]x[/red]"),
        ("\x1b[31mx\x07", r"\x1b[31mx\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("\x9b31m", r"\x9b31m"),
        ("été 図 <b>", "été 図 <b>"),
        (17, "17"),
    ],
)
def test_hostile_text_is_shown_and_not_obeyed(hostile, shown):
    assert plain(hostile) == shown


@pytest.mark.parametrize("text", ["x" * 10_000, "図" * 10_000, "\x1b" * 10_000, "x" * 21, "図" * 11])
def test_long_text_is_cut_to_its_width_and_says_so(text):
    cut = plain(text, 20)
    assert cell_len(cut) <= 20 and "…" in cut


def test_ids_that_differ_at_their_end_still_differ():
    assert plain("folder/" * 100 + "17", 20) != plain("folder/" * 100 + "18", 20)
    assert plain("folder/" * 3 + "17", 20) == "folder/folder…der/17"


def test_text_that_fits_is_left_whole():
    assert plain("x" * 20, 20) == "x" * 20
    assert plain("図" * 10, 20) == "図" * 10


def test_a_message_is_one_line_of_finite_length():
    assert one_line("a\n  b\x1b[0m") == r"a b\x1b[0m"
    assert len(one_line("x" * 100_000)) == 2000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (12.0, "12.0"),
        (123.4, "123"),
        (1234.5, "1,230"),
        (999_999.0, "1.00e+06"),
        (0.00123456, "0.00123"),
        (0.0009996, "0.00100"),
        (1.23456e-5, "1.23e-05"),
        (-0.5, "-0.500"),
        (9.999, "10.0"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_counts_have_their_thousands_separated():
    assert count(1234567) == "1,234,567"
