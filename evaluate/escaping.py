"""Text from outside made harmless for where it is shown: posts, but also names that stand in files of data.

HTML is escaped by the template engine; here is what it leaves open, and what Markdown and spreadsheets need.
"""

import html
import re
from typing import Any

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls; tab and line feed are white space
    "\u00ad\u200b\u200e\u200f\u061c\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"  # direction and format controls
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves of surrogate pairs; tags
)
_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # the last four are the signs of full width
LONGEST = 400  # characters of a post that a report shows


def visible(text: str) -> str:
    """The text with characters that are invisible, change the direction or are no text written out as `\\u202e` and the like.

    The joiners U+200C and U+200D stay: Persian, Urdu and Hindi are misspelt without them.

    >>> visible("a\\u202eb\\x00")
    'a\\\\u202eb\\\\x00'
    """
    return _INVISIBLE.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)


def visible_strings(value: Any) -> Any:
    """Plain data with every string in it, keys too, as `visible` writes it: names of sources and languages come from outside."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): visible_strings(inner) for key, inner in value.items()}
    return [visible_strings(inner) for inner in value] if isinstance(value, list | tuple) else value


def excerpt(text: str) -> str:
    """The beginning of a post, harmless to show, with a mark where it goes on.

    >>> len(excerpt("long " * 20_000))
    401
    """
    return visible(text[:LONGEST]) + ("…" if len(text) > LONGEST else "")


def markdown_text(text: str) -> str:
    """Text as Markdown that shows it and does nothing else, on one line: no link, element, emphasis or table cell begins in it.

    >>> markdown_text("<b>|[a](b)")
    '&lt;b&gt;\\\\|\\\\[a\\\\]\\\\(b\\\\)'
    """
    one_line = re.sub(r"\s+", " ", visible(text))  # a space at either end stays: templates have words that begin with one
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", html.escape(one_line, quote=False))


def spreadsheet_text(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would take it for a formula (OWASP, "CSV Injection").

    >>> spreadsheet_text("=1+1"), spreadsheet_text("1+1")
    ("'=1+1", '1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text
