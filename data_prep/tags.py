"""Language tags: what may name a language, in one spelling."""

import re
from functools import lru_cache

# Language, script, region, variants. BCP 47 has rarer forms, which would let words of other kinds pass.
_TAG = re.compile(r"[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z\d]{5,8}|\d[a-z\d]{3}))*", re.ASCII | re.IGNORECASE)


@lru_cache(maxsize=1000)  # of a million rows' languages few differ
def language_tag(text: str) -> str | None:
    """The BCP-47 tag in its usual spelling, or None for what is none.

    A word of two or three letters passes whether or not it is a registered code.

    >>> [language_tag(text) for text in ("EN", "ur-latn", "zh-hans-cn", "kas", "und")]
    ['en', 'ur-Latn', 'zh-Hans-CN', 'kas', 'und']
    >>> [language_tag(text) for text in ("False", "Urdu", "en_US", "")]
    [None, None, None, None]
    """
    if _TAG.fullmatch(text) is None:
        return None
    language, *subtags = text.lower().split("-")
    return "-".join([language, *(_usual_case(subtag) for subtag in subtags)])


def _usual_case(subtag: str) -> str:
    """A script begins with a capital, a region is all capitals, a variant has none."""
    if len(subtag) == 2:
        return subtag.upper()
    return subtag.title() if len(subtag) == 4 and subtag.isalpha() else subtag
