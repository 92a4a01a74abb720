"""Written differently, a post reads the same; each transformation does what its name says and nothing else."""

import pytest

from data_prep.normaliser import normalise
from evaluate.functional import variants
from evaluate.functional.variants import obfuscations, script_variations


def test_invisible_spaces_and_keyboards_vanish_in_the_normaliser() -> None:
    assert variants.zero_width("peace in Ruvel") == "pea\u200bce in Ruv\u200bel"
    assert normalise(variants.zero_width("peace in Ruvel")) == "peace in Ruvel"
    urdu = "یہ کل کی بات ہے"
    assert variants.other_keyboard(urdu) != urdu
    assert normalise(variants.other_keyboard(urdu)) == normalise(urdu)
    assert normalise(variants.stretched("سلام")) == "سلام"


def test_letters_keep_the_signs_that_combine_with_them() -> None:
    assert variants.spaced("की हिंदी") == "की हिं दी"
    assert variants.dotted("बिल") == "बि.ल"
    assert variants.repeated("a week on") == "a weekkkkkk on"


@pytest.mark.parametrize(
    ("transformation", "text", "expected"),
    [
        (variants.lower_case, "Come on, Ruvel!", "come on ruvel"),
        (variants.upper_case, "Come on", "COME ON"),
        (variants.without_punctuation, "हाँ, ठीक।", "हाँ ठीक"),
        (variants.full_stops, "ठीक।", "ठीक."),
        (variants.bars, "ठीक।", "ठीक|"),
        (variants.romanised, "Щука ждёт", "Shchuka zhdyot"),
        (variants.other_spelling, "ye mein ne nahi kaha", "yeh me ne nai kaha"),
        (variants.with_emoji, "a b c d", "a b c ✨ d"),
        (variants.leet, "sota", "$074"),
    ],
)
def test_a_transformation(transformation: variants.Transformation, text: str, expected: str) -> None:
    assert transformation(text) == expected


def test_lookalikes_are_each_others_inverse() -> None:
    assert variants.latin_lookalikes("peace") == "реасе"
    assert variants.cyrillic_lookalikes(variants.latin_lookalikes("peace")) == "peace"


def test_each_script_has_its_own() -> None:
    assert variants.other_spelling in script_variations("ur-Latn", "Latn")
    assert variants.other_spelling not in script_variations("en", "Latn")
    assert variants.leet in obfuscations("en", "Latn")
    assert variants.leet not in obfuscations("hi", "Deva")
    assert variants.without_nuktas not in script_variations("bn", "Beng")
