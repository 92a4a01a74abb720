"""The normaliser rule by rule, and what must hold for any text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.normaliser import build_normaliser, normalise
from train.encoder import build_tokenizer

AWKWARD = st.text(
    alphabet=st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("<>/s pad unk mask @.:w\u200b\u200c\u200d\u200e\ufeff\u0640\u064b\u0651\u0654\u064a\u0643\u0647ا＜＞ﷺ\u0301👍🏽"),
    ),
    max_size=60,
)


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("zero-width inside a word", "ki\u200bl\u200dl", "kill"),
        ("non-joiner in Latin", "ki\u200cll", "kill"),
        ("Persian half-space", "می\u200cخواہم", "می خواہم"),
        ("bidi controls", "\u202eabc\u202c \u2067د\u2069", "abc د"),
        ("tag characters", "a\U000e0041b", "ab"),
        ("soft hyphen", "pro\u00adpa", "propa"),
        ("control characters", "a\x00b\x07c", "a b c"),
        ("full width", "ＡＢ１", "AB1"),
        ("mathematical letters", "𝕳𝖎", "Hi"),
        ("Arabic presentation forms", "ﻻ", "لا"),
        ("Arabic yeh and kaf", "كي", "کی"),
        ("Arabic heh", "هو", "ہو"),
        ("tatweel and harakat", "مُحَـــمَّد", "محمد"),
        ("Urdu do-chashmi he is kept", "بھی", "بھی"),
        ("Pashto letters are kept", "ښځې ډېرۍ", "ښځې ډېرۍ"),
        ("Sindhi swash kaf is kept", "ڪتاب", "ڪتاب"),
        ("Devanagari stays composed as NFC has it", "क\u093c", "क\u093c"),
        ("URL", "see https://a.example/b?c now", "see http now"),
        ("www", "www.a.example", "http"),
        ("e-mail", "write to a.b@c.example please", "write to email please"),
        ("handle", "thanks @some_one!", "thanks @user !"),
        ("phone", "call +00 (000) 000-0000", "call phone"),
        ("phone in Urdu digits", "۰۳۰۰۱۲۳۴۵۶۷", "phone"),
        ("a year is no phone", "in 2024", "in 2024"),
        ("repeats", "soooooo gooood!!!!", "soo good!!"),
        ("repeated digits stay", "1000000", "1000000"),
        ("special tokens", "a </s> b <pad> <mask>", "a < /s> b < pad> < mask>"),
        ("special token in disguise", "＜p\u200bad＞", "< pad>"),
        ("white space", " a\t\n b\u00a0c ", "a b c"),
        ("hashtag keeps its word", "#آزادی", "#آزادی"),
        ("emoji", "👍🏽❤️", "👍🏽❤"),
    ],
)
def test_rule(rule: str, text: str, expected: str) -> None:
    assert normalise(text) == expected, rule


@given(AWKWARD)
def test_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(AWKWARD)
def test_no_text_becomes_a_special_token(text: str) -> None:
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in "<>/spadunkm")]
    ids = build_tokenizer([*pieces, ("<mask>", 0.0)], 512).encode(text).ids
    assert ids[0] == 0
    assert ids[-1] == 2
    assert not {0, 1, 2, len(pieces)} & set(ids[1:-1])


def test_the_serialised_normaliser_has_only_portable_rules() -> None:
    rules = json.loads(build_normaliser().__getstate__())["normalizers"]
    assert {rule["type"] for rule in rules} <= {"Replace", "NFC", "NFKC", "Strip"}
