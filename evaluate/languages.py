"""English names of the languages that reports mention; an unknown code is shown as it is."""

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
