"""English names of the languages that reports mention; an unknown code is shown as it is."""

NAMES = {
    "ar": "Arabic", "bal": "Balochi", "bn": "Bengali", "ckb": "Central Kurdish", "de": "German", "en": "English",
    "es": "Spanish", "fa": "Persian", "fr": "French", "he": "Hebrew", "hi": "Hindi", "id": "Indonesian",
    "ks": "Kashmiri", "ne": "Nepali", "pa": "Punjabi (Gurmukhi)", "pnb": "Punjabi (Shahmukhi)", "prs": "Dari",
    "ps": "Pashto", "ru": "Russian", "sd": "Sindhi", "tr": "Turkish", "ug": "Uyghur", "uk": "Ukrainian",
    "ur": "Urdu", "ur-Latn": "Roman Urdu", "zh": "Chinese", "und": "undetermined", "mul": "all its languages",
}  # fmt: skip


def language_name(code: str) -> str:
    """The English name of a BCP-47 code.

    >>> language_name("ur-Latn"), language_name("xx")
    ('Roman Urdu', 'xx')
    """
    return NAMES.get(code, code)
