"""Written differently, a post reads the same; each transformation does what its name says and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.normaliser import normalise
from train import edits
from train.edits import RE_POST_EDITS, obfuscations, script_variations


def test_invisible_spaces_and_keyboards_vanish_in_the_normaliser() -> None:
    assert edits.zero_width("peace in Ruvel") == "pea\u200bce in Ruv\u200bel"
    assert normalise(edits.zero_width("peace in Ruvel")) == "peace in Ruvel"
    urdu = "یہ کل کی بات ہے"
    assert edits.other_keyboard(urdu) != urdu
    assert normalise(edits.other_keyboard(urdu)) == normalise(urdu)
    assert normalise(edits.stretched("سلام")) == "سلام"


def test_letters_keep_the_signs_that_combine_with_them() -> None:
    assert edits.spaced("की हिंदी") == "की हिं दी"
    assert edits.dotted("बिल") == "बि.ल"
    assert edits.repeated("a week on") == "a weekkkkkk on"


@pytest.mark.parametrize(
    ("transformation", "text", "expected"),
    [
        (edits.lower_case, "Come on, Ruvel!", "come on ruvel"),
        (edits.upper_case, "Come on", "COME ON"),
        (edits.without_punctuation, "हाँ, ठीक।", "हाँ ठीक"),
        (edits.full_stops, "ठीक।", "ठीक."),
        (edits.bars, "ठीक।", "ठीक|"),
        (edits.romanised, "Щука ждёт", "Shchuka zhdyot"),
        (edits.other_spelling, "ye mein ne nahi kaha", "yeh me ne nai kaha"),
        (edits.with_emoji, "a b c d", "a b c ✨ d"),
        (edits.leet, "sota", "$074"),
    ],
)
def test_a_transformation(transformation: edits.Transformation, text: str, expected: str) -> None:
    assert transformation(text) == expected


def test_lookalikes_are_each_others_inverse() -> None:
    assert edits.latin_lookalikes("peace") == "реасе"
    assert edits.cyrillic_lookalikes(edits.latin_lookalikes("peace")) == "peace"


def test_each_script_has_its_own() -> None:
    assert edits.other_spelling in script_variations("ur-Latn", "Latn")
    assert edits.other_spelling not in script_variations("en", "Latn")
    assert edits.leet in obfuscations("en", "Latn")
    assert edits.leet not in obfuscations("hi", "Deva")
    assert edits.without_nuktas not in script_variations("bn", "Beng")


def test_what_re_posts_are_edited_with() -> None:
    text = "the fair in Ruvel opens at nine and closes at ten"
    found = {name: edit(text) for name, edit in RE_POST_EDITS.items()}
    assert found == {name: edit(text) for name, edit in RE_POST_EDITS.items()}, "equal texts are edited alike"
    assert found["words dropped"].split() != text.split()
    assert len(found["words dropped"].split()) == len(text.split()) - 1
    assert found["prefix"].endswith(text)
    assert normalise(found["zero width"]) == normalise(text)
    assert found["transliteration"] == text
    assert edits.transliterated("Рувель") == "Ruvel'"
    assert edits.lookalikes("رُوول میں") == edits.other_keyboard("رُوول میں")


@given(st.text())
def test_no_text_breaks_an_edit(text: str) -> None:
    for edit in RE_POST_EDITS.values():
        assert isinstance(edit(text), str)
