"""What reports call languages, heads and kinds of allowed speech in English; an unknown code is shown as it is."""

from collections.abc import Iterable

from data_prep.table import HARD_NEGATIVES

NAMES = {
    "ar": "Arabic", "bal": "Balochi", "bn": "Bengali", "ckb": "Central Kurdish", "de": "German", "en": "English",
    "es": "Spanish", "fa": "Persian", "fr": "French", "he": "Hebrew", "hi": "Hindi", "id": "Indonesian",
    "ks": "Kashmiri", "ne": "Nepali", "pa": "Punjabi (Gurmukhi)", "pnb": "Punjabi (Shahmukhi)", "prs": "Dari",
    "ps": "Pashto", "ru": "Russian", "sd": "Sindhi", "tr": "Turkish", "ug": "Uyghur", "uk": "Ukrainian",
    "ur": "Urdu", "ur-Latn": "Roman Urdu", "zh": "Chinese", "und": "undetermined", "mul": "all its languages",
}  # fmt: skip

CORE = ("ur", "ur-Latn", "ps", "sd", "pa", "pnb", "bal", "prs", "fa", "ar", "hi", "bn", "en")  # docs/taxonomy.md
OFFICIAL_EU = {  # official languages of the European Union, Regulation No 1 (1958) as amended
    "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fi": "Finnish", "fr": "French", "ga": "Irish", "hr": "Croatian", "hu": "Hungarian", "it": "Italian", "lt": "Lithuanian",
    "lv": "Latvian", "mt": "Maltese", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "sk": "Slovak",
    "sl": "Slovenian", "sv": "Swedish",
}  # fmt: skip


def language_name(code: str) -> str:
    """The English name of a BCP-47 code.

    >>> language_name("ur-Latn"), language_name("xx")
    ('Roman Urdu', 'xx')
    """
    return NAMES.get(code) or OFFICIAL_EU.get(code, code)


def spoken(head: str) -> str:
    """A head's name as people write it."""
    return head.replace("_", " ")


def kind_name(kind: str) -> str:
    """A kind of allowed speech as people call it; one that this project does not know, as it is."""
    return HARD_NEGATIVES.get(kind, kind)


def place(language: str, kinds: Iterable[str]) -> str:
    """A place within a head, in words: a language, kinds of allowed speech, or such kinds in it.

    >>> place("Urdu", ["news", "quotes"]), place("Urdu", [""])
    ('Urdu (news, quotes)', 'Urdu')
    """
    said = ", ".join(filter(None, kinds))
    return f"{language} ({said})" if language and said else language or said
