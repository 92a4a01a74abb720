"""Text from outside is harmless where it is shown, and other scripts stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.escaping import LONGEST, excerpt, markdown_text, spreadsheet_text, visible


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\u200b", "\u200e", "\u202e", "\u2066", "\ufeff", "\U000e0041", "\ud800"])
def test_what_cannot_be_seen_is_written_out(character: str) -> None:
    shown = visible(f"a{character}b")
    assert character not in shown
    assert shown.startswith("a\\")


@pytest.mark.parametrize("text", ["می‌خواهم", "क्‍ष", "رُوول میں", "👩‍🚒", "a\tb\nc"])
def test_other_scripts_and_white_space_stay(text: str) -> None:
    assert visible(text) == text


@given(st.text())
def test_markdown_is_one_line_that_begins_nothing(text: str) -> None:
    shown = markdown_text(text)
    assert "\n" not in shown
    assert "<" not in shown
    unescaped = shown.replace("\\\\", "")
    for sign in "`*_[]|":
        assert sign not in unescaped.replace(f"\\{sign}", "")


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    assert not spreadsheet_text(text).lstrip().startswith(("=", "+", "-", "@"))


def test_a_long_post_is_cut_and_says_so() -> None:
    assert excerpt("x" * 100_000) == "x" * LONGEST + "…"
    assert excerpt("short") == "short"
