"""The one text normaliser: built here, serialised inside `tokenizer.json`, so training and serving agree.

Only rule kinds that the Rust and the JavaScript tokenizers execute alike are used (NFC, NFKC, Strip and
Replace with a regular expression of explicit character classes). Each rule says what it removes and why;
docs/normaliser.md explains the choices per language and what they were measured to cost.
"""

from functools import cache
from itertools import pairwise

from tokenizers import Regex, normalizers

# What people type to slip past a filter, or what keyboards insert unseen: never visible, never meaningful alone.
# Zero-width space and joiner, bidi marks, word joiner, soft hyphen, BOM, variation selectors, tag characters.
# Patterns hold the characters themselves (not escapes, which the two regex engines read differently).
_INVISIBLE = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200d-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_CONTROL = "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
# Arabic harakat, Quranic marks and tatweel: optional in the languages written in the script, except Kashmiri, whose vowels are lost.
_ARABIC_MARKS = "[\u0610-\u061a\u0640\u064b-\u0653\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]"
# One letter, several code points, chosen by keyboard rather than by meaning. Kept apart because they change
# meaning: Urdu and Sindhi do-chashmi he (U+06BE), Pashto U+06D0 and U+06CD, Sindhi swash kaf (U+06AA).
# A rule for each: what begins with one letter is searched in a quarter of the time that a class of them takes.
_ARABIC_LETTERS = {
    "\u064a": "\u06cc",  # Arabic yeh -> Farsi yeh
    "\u0649": "\u06cc",  # alef maksura -> Farsi yeh
    "\u0643": "\u06a9",  # Arabic kaf -> keheh
    "\u0647": "\u06c1",  # Arabic heh -> heh goal
    "\u0671": "\u0627",  # alef wasla -> alef
}

# Letters that look alike in Latin, Cyrillic and Greek. Inside a word that is otherwise of one script, such a letter of
# another was typed to slip past a filter (or slipped in from a keyboard), and is taken for what it looks like. A mixed
# word of look-alikes only is taken for Latin, unless just an i is Latin: that one is common in Ukrainian keyboards' texts.
_LATIN_LOOKALIKES = {
    **{
        "a": "аα",
        "c": "с",
        "e": "е",
        "h": "һ",
        "i": "іι",
        "j": "ј",
        "o": "оο",
        "p": "рρ",
        "s": "ѕ",
        "u": "υ",
        "v": "ν",
        "x": "хχ",
        "y": "у",
    },
    **{"A": "АΑ", "B": "ВΒ", "C": "С", "E": "ЕΕ", "H": "НΗ", "I": "ІΙ", "J": "Ј", "K": "КΚ", "M": "МΜ", "N": "Ν", "O": "ОΟ", "P": "РΡ"},
    **{"S": "Ѕ", "T": "ТΤ", "X": "ХΧ", "Y": "ҮΥ", "Z": "Ζ"},
}
_CYRILLIC_LOOKALIKES = dict(zip("аеіорсухёїАВСЕНІКМОРТХЁЇ", "aeiopcyxëïABCEHIKMOPTXËÏ", strict=True))
_LATIN = [chr(code) for start, end in ((0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x250), (0x1E00, 0x1F00)) for code in range(start, end)]
_CYRILLIC = [chr(code) for code in range(0x400, 0x530)]
_GREEK = [chr(code) for start, end in ((0x370, 0x400), (0x1F00, 0x2000)) for code in range(start, end)]
_COMBINING = [chr(code) for code in range(0x300, 0x370)]
_WORD = 12  # letters either side that decide what script a word is of: a lookbehind costs the square of this


def _character_class(characters: list[str]) -> str:
    """The inside of [...] for some characters, neighbours as ranges.

    >>> _character_class(["a", "b", "c", "x"])
    'a-cx'
    """
    codes = sorted({ord(character) for character in characters})
    starts = [codes[0], *(after for before, after in pairwise(codes) if after != before + 1)]
    ends = [*(before for before, after in pairwise(codes) if after != before + 1), codes[-1]]
    return "".join(chr(start) if start == end else f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


def _lookalike_rules() -> list[normalizers.Normalizer]:
    """One rule per look-alike: where it is in a word with a letter of the other script, and without one that this script lacks."""
    rules: list[normalizers.Normalizer] = []
    for lookalikes, script, others, unsure in (
        (_LATIN_LOOKALIKES, _LATIN, [*_CYRILLIC, *_GREEK], "iI"),
        (_CYRILLIC_LOOKALIKES, _CYRILLIC, [*_LATIN, *_GREEK], "".join(_LATIN_LOOKALIKES.values())),
    ):
        foreign = [letter for letters in lookalikes.values() for letter in letters]
        word = f"[{_character_class([*script, *foreign, *_COMBINING])}]"
        own = f"[{_character_class([letter for letter in script if letter not in unsure and letter.isalpha()])}]"
        other = f"[{_character_class([letter for letter in others if letter not in foreign])}]"
        apart = f"(?!{word}{{0,{_WORD}}}{other})(?<!{other}{word}{{1,{_WORD + 1}}})"
        beside = f"(?:(?={word}{{0,{_WORD}}}{own})|(?<={own}{word}{{1,{_WORD + 1}}}))"
        for letter, letters in lookalikes.items():
            rules += [normalizers.Replace(Regex(f"{lookalike}{apart}{beside}"), letter) for lookalike in letters]
    return rules


@cache
def build_normaliser() -> normalizers.Sequence:
    """The normaliser as a `tokenizers` object; pure, so one instance serves the process."""

    def replace(pattern: str, content: str) -> normalizers.Normalizer:
        return normalizers.Replace(Regex(pattern), content)

    white_space = r"[^\S ]\s*| \s+"  # all that is not a single space already: each match costs time

    rules: list[normalizers.Normalizer] = [
        # A zero-width non-joiner is the Persian half-space inside Arabic script and an evasion elsewhere.
        replace("(?<=[\u0600-\u06ff])\u200c+(?=[\u0600-\u06ff])", " "),
        replace("\u200c", ""),
        replace(_INVISIBLE, ""),
        replace(_CONTROL, " "),
        normalizers.NFKC(),  # full-width letters, ligatures and presentation forms become plain ones
        replace(_INVISIBLE, ""),
        replace(_ARABIC_MARKS, ""),
        *(replace(letters, letter) for letters, letter in _ARABIC_LETTERS.items()),
        normalizers.NFC(),  # removing marks can bring a base and a combining character together
        *_lookalike_rules(),
        # What identifies a person or leads out of the post is masked before any model sees it.
        # In any case, and without a flag: an inline (?i) means something else, or nothing, to each of the engines.
        replace(r"(?:[hH][tT][tT][pP][sS]?://|[wW][wW][wW]\.)[^\s]+", " http "),
        replace(r"(?<![^\s@<>])[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+", " email "),  # begun at a word's start only: linear
        replace(r"@[\p{L}\p{N}_]+", " @user "),
        # A hashtag is words: apart from its sign, at its capitals and underscores, they are pieces the encoder knows.
        # Asked first for the capital, which is rare: looking back from every letter took a sixth of the whole normaliser's time.
        replace(r"(?=\p{Lu})(?<=#[\p{L}\p{M}\p{N}_]{0,60}\p{Ll})", " "),
        replace(r"#(?=[\p{L}\p{N}_])", "# "),
        replace("_+", " "),
        replace(r"([^\p{Nd}\s])\1*(?=\1\1)", ""),  # soooo -> soo; a run is one match, as each match costs a pass over the text
        # XLM-R's special tokens typed as text would become control ids: break them up.
        replace(r"<(?=/?(?:s|pad|unk|mask)>)", "< "),
        replace(white_space, " "),
        # Last, since the rules above can bring digits near each other, and nothing may hide from a mask behind them.
        replace(r"\+?\p{Nd}(?:[ ().-]{0,2}\p{Nd}){8,}", " phone "),
        replace(white_space, " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(rules)


def normalise(text: str) -> str:
    """The text as every model sees it.

    >>> normalise("Go to https://a.example/x  NOW@\u200badmin")
    'Go to http NOW @user'
    """
    return build_normaliser().normalize_str(text)
