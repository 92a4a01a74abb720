"""The one text normaliser: built here, serialised inside `tokenizer.json`, so training and serving agree.

Only rule kinds that the Rust and the JavaScript tokenizers execute alike are used (NFC, NFKC, Strip and
Replace with a regular expression of explicit character classes). Each rule says what it removes and why.
"""

from functools import cache

from tokenizers import Regex, normalizers

# What people type to slip past a filter, or what keyboards insert unseen: never visible, never meaningful alone.
# Zero-width space and joiner, bidi marks, word joiner, soft hyphen, BOM, variation selectors, tag characters.
# Patterns hold the characters themselves (not escapes, which the two regex engines read differently).
_INVISIBLE = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200d-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_CONTROL = "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
# Arabic harakat, Quranic marks and tatweel: optional in every language written in the script.
_ARABIC_MARKS = "[\u0610-\u061a\u0640\u064b-\u0653\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]"
# One letter, several code points, chosen by keyboard rather than by meaning. Kept apart because they change
# meaning: Urdu and Sindhi do-chashmi he (U+06BE), Pashto U+06D0 and U+06CD, Sindhi swash kaf (U+06AA).
_ARABIC_LETTERS = {
    "[\u064a\u0649]": "\u06cc",  # Arabic yeh, alef maksura -> Farsi yeh
    "\u0643": "\u06a9",  # Arabic kaf -> keheh
    "\u0647": "\u06c1",  # Arabic heh -> heh goal
    "\u0671": "\u0627",  # alef wasla -> alef
}


@cache
def build_normaliser() -> normalizers.Sequence:
    """The normaliser as a `tokenizers` object; pure, so one instance serves the process."""

    def replace(pattern: str, content: str) -> normalizers.Normalizer:
        return normalizers.Replace(Regex(pattern), content)

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
        # What identifies a person or leads out of the post is masked before any model sees it.
        replace(r"(?:https?://|www\.)[^\s]+", " http "),
        replace(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+", " email "),
        replace(r"@[\p{L}\p{N}_]+", " @user "),
        replace(r"\+?\p{Nd}(?:[ ().-]{0,2}\p{Nd}){8,}", " phone "),
        replace(r"([^\p{Nd}\s])(?=\1{2,})", ""),  # soooo -> soo
        # XLM-R's special tokens typed as text would become control ids: break them up.
        replace(r"<(?=/?(?:s|pad|unk|mask)>)", "< "),
        replace(r"\s+", " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(rules)


def normalise(text: str) -> str:
    """The text as every model sees it.

    >>> normalise("Go to https://a.example/x  NOW@\u200badmin")
    'Go to http NOW @user'
    """
    return build_normaliser().normalize_str(text)
