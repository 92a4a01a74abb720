"""The same post written differently: as an honest writer's keyboard would have it, to slip past a filter, or posted again.

Every edit leaves what a person reads nearly as it was, so a case keeps its gold labels and a copy stays a copy. One that
leaves a text as it is does not apply to it. Equal texts are edited alike, whenever and wherever.
"""

import itertools
import random
import re
import string
import unicodedata
from collections.abc import Callable

from anyascii import anyascii

from data_prep.script import dominant_script

Transformation = Callable[[str], str]

ZERO_WIDTH_SPACE = "\u200b"
TATWEEL = "\u0640"
NUKTAS = "\u093c\u0a3c"  # of Devanagari and Gurmukhi; without the Bengali one its letters are other letters
LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0610-\u065f])*")  # words with their combining signs
LOOKALIKES = {
    "Latn": str.maketrans("aceopxyABEKMHOPCTX", "асеорхуАВЕКМНОРСТХ"),  # Latin letters -> Cyrillic ones of the same shape
    "Cyrl": str.maketrans("асеорхуАВЕКМНОРСТХ", "aceopxyABEKMHOPCTX"),
}
VOWELS = re.compile("[aeiouyаеиоуыэюя]", re.IGNORECASE)
CONSONANTS = re.compile("[\u0628-\u063a\u0641-\u0647\u0679-\u06af\u06ba\u06be\u06c1](?![\u064b-\u0652])")
BOLD = {ord(letter): 0x1D5D4 + place for place, letter in enumerate(string.ascii_uppercase + string.ascii_lowercase)}  # sans-serif
LEET = str.maketrans("aeiost", "4310$7")
ROMANISATION = str.maketrans(
    {
        "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z", "и": "i", "й": "y", "к": "k",
        "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts",
        "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
    }
)  # fmt: skip
ROMAN_URDU_SPELLINGS = {"mein": "me", "nahi": "nai", "hain": "hen", "hai": "he", "ye": "yeh", "wo": "woh", "main": "mein", "ka": "kaa"}


def other_keyboard(text: str) -> str:
    """Yeh, kaf and heh as the other family of Arabic-script keyboards types them.

    >>> other_keyboard("یک") == "\\u064a\\u0643"
    True
    """
    persian, arabic = "\u06cc\u06a9\u06c1", "\u064a\u0643\u0647"
    return text.translate(str.maketrans(persian, arabic) if "\u06cc" in text else str.maketrans(arabic, persian))


def stretched(text: str) -> str:
    """The longest word drawn out with tatweel, as in headings and ornaments."""
    return _in_longest(text, lambda word: word[:1] + TATWEEL * 3 + word[1:] if word[0] not in "اآأإدڈذرڑزژوډړږ" else word)


def without_punctuation(text: str) -> str:
    """Letters, digits, signs and single spaces only."""
    return " ".join("".join(" " if unicodedata.category(character)[0] == "P" else character for character in text).split())


def lower_case(text: str) -> str:
    """Everything in lower case, without punctuation, as typed on a telephone."""
    return without_punctuation(text.lower())


def upper_case(text: str) -> str:
    """Everything in capitals."""
    return text.upper()


def without_nuktas(text: str) -> str:
    """The dots below that writers of Hindi and Punjabi often leave out.

    >>> without_nuktas("\\u095b") == "\\u091c"
    True
    """
    return "".join(character for character in unicodedata.normalize("NFD", text) if character not in NUKTAS)


def full_stops(text: str) -> str:
    """A full stop for every danda."""
    return text.replace("\u0964", ".")


def bars(text: str) -> str:
    """A vertical bar for every danda, as on keyboards without one."""
    return text.replace("\u0964", "|")


def other_spelling(text: str) -> str:
    """Frequent second spellings of Roman Urdu, which has no standard one.

    >>> other_spelling("ye nahi hai")
    'yeh nai he'
    """
    return re.sub(r"\w+", lambda word: ROMAN_URDU_SPELLINGS.get(word[0], word[0]), text)


def romanised(text: str) -> str:
    """Russian in Latin letters.

    >>> romanised("Ещё")
    'Eshchyo'
    """
    return "".join(_like(letter, letter.lower().translate(ROMANISATION)) for letter in text)


def _like(letter: str, romanised: str) -> str:
    return romanised.capitalize() if letter.isupper() else romanised


def zero_width(text: str) -> str:
    """An invisible space inside every word of at least four letters."""
    return LETTERS.sub(lambda word: _joined(word[0], ZERO_WIDTH_SPACE, pieces=2) if len(word[0]) >= 4 else word[0], text)


def spaced(text: str) -> str:
    """The longest word letter by letter.

    >>> spaced("we attack")
    'we a t t a c k'
    """
    return _in_longest(text, lambda word: " ".join(_clusters(word)))


def dotted(text: str) -> str:
    """The longest word with dots between its letters."""
    return _in_longest(text, lambda word: ".".join(_clusters(word)))


def repeated(text: str) -> str:
    """The last letter of the longest word, five more times."""
    return _in_longest(text, lambda word: word + _clusters(word)[-1][:1] * 5)


def with_emoji(text: str) -> str:
    """A pictogram after every third word."""
    words = text.split(" ")
    return " ".join(f"{word} ✨" if index % 3 == 2 else word for index, word in enumerate(words))


def leet(text: str) -> str:
    """Digits and signs for the Latin letters they resemble.

    >>> leet("attack")
    '4774ck'
    """
    return text.translate(LEET)


def latin_lookalikes(text: str) -> str:
    """Cyrillic letters for the Latin ones of the same shape."""
    return text.translate(LOOKALIKES["Latn"])


def cyrillic_lookalikes(text: str) -> str:
    """Latin letters for the Cyrillic ones of the same shape."""
    return text.translate(LOOKALIKES["Cyrl"])


_SCRIPT_VARIATIONS: dict[str, tuple[Transformation, ...]] = {
    "Arab": (other_keyboard, stretched, without_punctuation),
    "Latn": (lower_case, upper_case),
    "Cyrl": (lower_case, upper_case, romanised),
    "Deva": (without_nuktas, full_stops, bars, without_punctuation),
    "Guru": (without_nuktas, full_stops, bars, without_punctuation),
    "Beng": (full_stops, bars, without_punctuation),
}
_OBFUSCATIONS: tuple[Transformation, ...] = (zero_width, spaced, dotted, repeated, with_emoji)


def script_variations(language: str, script: str) -> tuple[Transformation, ...]:
    """How an honest writer of the language may write the same post."""
    return (*_SCRIPT_VARIATIONS[script], *((other_spelling,) if language == "ur-Latn" else ()))


def obfuscations(language: str, script: str) -> tuple[Transformation, ...]:
    """How a writer may hide the same post from a filter."""
    own = {"Latn": (leet, latin_lookalikes), "Cyrl": (cyrillic_lookalikes,)}
    return (*_OBFUSCATIONS, *own.get(script, ()))


def accented(text: str) -> str:
    """An acute accent above the vowels of every word of at least four letters.

    >>> accented("we attack") == "we a\\u0301ttacka\\u0301"
    False
    >>> accented("the raid") == "the ra\\u0301i\\u0301d"
    True
    """
    return LETTERS.sub(lambda word: VOWELS.sub(lambda vowel: f"{vowel[0]}\u0301", word[0]) if len(word[0]) >= 4 else word[0], text)


def with_vowel_signs(text: str) -> str:
    """Arabic vowel signs after the consonants, as in schoolbooks and scripture; they take turns and are no spelling of any word."""
    signs = itertools.cycle("\u064e\u0650\u064f")
    return CONSONANTS.sub(lambda letter: letter[0] + next(signs), text)


def styled(text: str) -> str:
    """Latin letters as the bold ones that mathematics has, which posts use for headings.

    >>> styled("Ruvel") == "\\U0001d5e5\\U0001d602\\U0001d603\\U0001d5f2\\U0001d5f9"
    True
    """
    return text.translate(BOLD)


def _tagged(text: str, tags: tuple[str, str, str]) -> str:
    words = text.split(" ")
    middle = -(-len(words) // 2)
    return " ".join([tags[0], *words[:middle], tags[1], *words[middle:], tags[2]])


def with_english_tags(text: str) -> str:
    """English fillers before, within and after: code-switching that changes no content (tag-switching, Poplack 1980).

    >>> with_english_tags("раз два")
    'you know раз I mean два bro'
    """
    return _tagged(text, ("you know", "I mean", "bro"))


def with_urdu_tags(text: str) -> str:
    """Roman Urdu fillers before, within and after, for English text."""
    return _tagged(text, ("yaar", "matlab", "bhai"))


def decorated(text: str) -> str:
    """Pictograms before, after and within."""
    before, after = random.Random(text).choices(("🔥", "⚡️", "🌹", "✨", "‼️", "🕊", "👇"), k=2)
    return f"{before * 2} {with_emoji(text)} {after * 3}"


def lookalikes(text: str) -> str:
    """Letters of the same shape from another alphabet, or from another keyboard of the same one."""
    return {"Latn": latin_lookalikes, "Cyrl": cyrillic_lookalikes, "Arab": other_keyboard}.get(dominant_script(text), str)(text)


def with_words_dropped(text: str) -> str:
    """A tenth of the words left out, at least one where there are five.

    >>> len(with_words_dropped("one two three four five six seven eight nine ten").split())
    9
    """
    words = text.split()
    if len(words) < 5:
        return text
    gone = set(random.Random(text).sample(range(len(words)), max(1, round(len(words) / 10))))
    return " ".join(word for place, word in enumerate(words) if place not in gone)


def prefixed(text: str) -> str:
    """What a new account or an app puts in front of a copied post."""
    return (
        random.Random(text).choice(("RT @someone: ", "Forwarded from a channel\n", "Part 1/2. ", "📢📢 NEW ACCOUNT: ", "copied >> ")) + text
    )


def transliterated(text: str) -> str:
    """In Latin letters, letter by letter, which is not how people spell.

    >>> transliterated("Привет")
    'Privet'
    """
    return anyascii(text)


# What removed posts come back with: docs/mirror.md measures each.
RE_POST_EDITS: dict[str, Transformation] = {
    "decoration": decorated,
    "zero width": zero_width,
    "homoglyphs": lookalikes,
    "words dropped": with_words_dropped,
    "prefix": prefixed,
    "transliteration": transliterated,
}


def _in_longest(text: str, change: Transformation) -> str:
    """Change the first of the longest words."""
    word = max(LETTERS.finditer(text), key=lambda found: len(found[0]), default=None)
    if word is None:
        return text
    return text[: word.start()] + change(word[0]) + text[word.end() :]


def _clusters(word: str) -> list[str]:
    """The word's letters, each with the signs that combine with it."""
    clusters: list[str] = []
    for character in word:
        if clusters and unicodedata.category(character)[0] == "M":
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _joined(word: str, separator: str, pieces: int) -> str:
    clusters = _clusters(word)
    size = -(-len(clusters) // pieces)
    return separator.join("".join(clusters[start : start + size]) for start in range(0, len(clusters), size))
