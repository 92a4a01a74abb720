"""What each column of a file of labelled posts is for, guessed from its name and its values: a beginning for a person to check."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data_prep.command import UserError
from data_prep.mapping import cell_items, cell_text

Columns = dict[str, list[str]]

JUDGEMENTS = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}
SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test",
}  # fmt: skip
TEXT_NAMES = {"text", "texts", "post", "posts", "tweet", "tweets", "content", "comment", "message", "body", "sentence", "paragraph"}
LANGUAGE_NAMES = {"lang", "language", "lang_code", "language_code", "locale"}
PROPAGANDA_WORDS = ("propaganda", "persua", "manipul")
VIOLENCE_WORDS = ("violen", "glorif")
LABEL_WORDS = (*PROPAGANDA_WORDS, *VIOLENCE_WORDS, "label", "class")
# Of three-letter words only these: most three-letter label values ("not", "pos", "neg") are some language's code too.
LANGUAGE_CODE = re.compile(r"([a-z]{2}|bal|bcc|bgn|brh|ckb|kmr|pes|pnb|prs|skr|und)([-_][a-z]{4})?([-_][a-z]{2})?", re.IGNORECASE)
MOST_LABELS = 20
LONGEST_LABEL = 60  # characters: anything longer may be a post, and is not shown
BETWEEN_ITEMS = "\x1f"  # of a cell that is a list, whose values are labels each by itself


@dataclass(frozen=True)
class Guess:
    """Which column is what."""

    text: str
    language: str | None
    split: str | None
    labels: list[str]  # the likeliest first
    ids: list[str]

    def role(self, column: str) -> str:
        """What a column is taken for; empty for one that is not used."""
        if column in self.labels:
            return "label"
        if column in self.ids:
            return "id"
        return {self.text: "text", self.language: "language", self.split: "split"}.get(column, "")


def column_cell(value: object) -> str:
    """A cell as label maps see it; the values of a list with BETWEEN_ITEMS between them."""
    items = cell_items(value)
    return cell_text(value) if items is None else BETWEEN_ITEMS.join(items)


def count_values(cells: Iterable[str]) -> Counter[str]:
    """How often each value occurs, those of a list by themselves."""
    return Counter(value for cell in cells for value in cell.split(BETWEEN_ITEMS))


def guess_columns(columns: Columns) -> Guess:
    """What each column is for, from its name and its values.

    Raises
    ------
    UserError
        If no column looks like text.
    """
    values = {name: count_values(filter(None, cells)) for name, cells in columns.items()}
    language = next((name for name, counts in values.items() if name.casefold() in LANGUAGE_NAMES and _are_showable(counts)), None)
    language = language or next(
        (name for name, counts in values.items() if _are_languages(counts) and not contains(name, LABEL_WORDS)), None
    )
    split = next((name for name, counts in values.items() if counts and _folded(counts) <= SPLIT_NAMES.keys()), None)
    others = {name: counts for name, counts in values.items() if name not in (language, split)}
    labels = [name for name, counts in others.items() if name.casefold() not in TEXT_NAMES and _are_labels(counts)]
    labels.sort(key=lambda name: (not contains(name, LABEL_WORDS), not _folded(values[name]) <= JUDGEMENTS.keys()))

    texts = [name for name, counts in others.items() if name not in labels and _share(counts, r"[^\W\d_]") > 0.5]
    if not texts:
        raise UserError(f"no column looks like text among {', '.join(map(printable, columns))}: name the column of posts `text`")
    # A free text has several words, which tells it from URLs and keys; where two do, the column that says more is the posts.
    text = max(texts, key=lambda name: (name.casefold() in TEXT_NAMES, _share(values[name], r"\s") > 0.5, sum(map(len, values[name]))))
    ids = [
        name
        for name, counts in others.items()
        if name not in (*labels, text) and len(counts) == len(columns[name]) > 1 and not _share(counts, r"\s")
    ]
    return Guess(text, language, split, labels, ids)


def _are_showable(counts: Counter[str]) -> bool:
    """Whether values are few, short and nobody's handle or link, so that printing them shows no post."""
    return 0 < len(counts) <= 100 and all(len(value) <= LONGEST_LABEL and "@" not in value and "://" not in value for value in counts)


def _are_languages(counts: Counter[str]) -> bool:
    """Whether all values are codes spelled as codes usually are: `PK` is a country rather than a language, and `no` an answer."""
    spelled = all(value == language_code(value) for value in counts)
    return _are_showable(counts) and spelled and not _folded(counts) <= JUDGEMENTS.keys()


def _are_labels(counts: Counter[str]) -> bool:
    repeated = 2 <= len(counts) <= MOST_LABELS and 2 * len(counts) <= counts.total()
    return _are_showable(counts) and (repeated or _folded(counts) <= JUDGEMENTS.keys())


def _folded(values: Iterable[str]) -> set[str]:
    return {value.casefold() for value in values}


def contains(name: str, words: Sequence[str]) -> bool:
    """Whether one of the words, in lower case, is part of the name."""
    return any(word in name.casefold() for word in words)


def _share(counts: Counter[str], pattern: str) -> float:
    """The share of non-empty cells in which the pattern occurs."""
    return sum(count for value, count in counts.items() if re.search(pattern, value)) / max(counts.total(), 1)


def language_code(value: str) -> str | None:
    """The BCP-47 code in its usual spelling, or None.

    >>> language_code("UR_latn"), language_code("en-us"), language_code("Urdu")
    ('ur-Latn', 'en-US', None)
    """
    match = LANGUAGE_CODE.fullmatch(value)
    if match is None:
        return None
    language, script, region = (part.strip("-_") for part in match.groups(default=""))
    return "-".join(filter(None, (language.lower(), script.title(), region.upper())))


def printable(text: str) -> str:
    """The text with what cannot be seen spelled out."""
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in text)
