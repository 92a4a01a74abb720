"""Which writing system a text is in, by the Unicode script property of its letters."""

import re
from collections import Counter
from functools import cache

from fontTools.unicodedata import script as unicode_script

# links and handles: Latin letters in a text of any script, of no language
ADDRESS = re.compile(r"https?://\S+|www\.\S+|@\S+", re.IGNORECASE)
_NOT_A_SCRIPT = frozenset({"Zyyy", "Zinh", "Zzzz"})  # common, inherited, unknown


@cache
def _script_of(character: str) -> str:
    return str(unicode_script(character))


def dominant_script(text: str) -> str:
    """ISO 15924 code of the script most of the text's letters belong to; `Zyyy` when it has none.

    Ties go to the alphabetically first code, so the answer never depends on letter order.

    >>> dominant_script("سلام salam دنیا")
    'Arab'
    >>> dominant_script("123 !")
    'Zyyy'
    """
    counts = Counter(_script_of(character) for character in text)
    for code in _NOT_A_SCRIPT:
        counts.pop(code, None)
    return min(counts, key=lambda code: (-counts[code], code)) if counts else "Zyyy"
