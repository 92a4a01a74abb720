"""A source's row becomes an example of the Example table, or a rejection with its reason."""

import ast
import datetime
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.command import UserError
from data_prep.normaliser import normalise
from data_prep.readers import Row
from data_prep.script import ADDRESS, dominant_script
from data_prep.settings import ANY_OTHER_VALUE, SourceSettings, ValueSettings
from data_prep.table import HARD_NEGATIVES, SPLITS
from data_prep.tags import language_tag

Example = dict[str, Any]

_UNDECODED = re.compile("[\ud800-\udfff]")  # readers keep bytes that are not of the encoding as surrogates


@dataclass(frozen=True)
class Rejection(Exception):  # noqa: N818 - a fate of a row, not an error of the program
    """A row that cannot become an example, and why."""

    reason: str


def cell_text(value: Any) -> str:
    """A cell as the string that configuration maps are keyed by; empty and null cells are ''.

    >>> cell_text(True), cell_text(1.0), cell_text(None), cell_text(["a"]), cell_text([])
    ('True', '1', '', 'a', '')
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # spreadsheets store 1 as 1.0
    if isinstance(value, list):
        return ", ".join(cell_text(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(cell_text(item) for item in value.values())
    return str(value).strip()


def cell_items(value: Any, separator: str | None = None) -> list[str] | None:
    """The values of a cell that lists some, or None if it holds one: a list, one written as text, or text with a separator.

    An item that is an object (a span in the text, mostly) is named by its `technique`.

    >>> cell_items(["a", {"technique": "b", "start": 3}]), cell_items("['a', 'b']"), cell_items("a; b;", ";"), cell_items("[IND] a")
    (['a', 'b'], ['a', 'b'], ['a', 'b'], None)
    """
    if isinstance(value, str):
        if separator is not None:
            return [item for item in map(str.strip, value.split(separator)) if item]
        written = value.strip()
        if written[:1] != "[" or written[-1:] != "]":
            return None
        try:
            value = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(value, list):
        return None
    return [cell_text(item.get("technique", item)) if isinstance(item, dict) else cell_text(item) for item in value]


def _look_up(cell: str, table: Mapping[str, Any], column: str) -> Any:
    if cell in table:
        return table[cell]
    if ANY_OTHER_VALUE in table and cell:
        return table[ANY_OTHER_VALUE]
    raise Rejection(f"unknown value {cell[:40]!r} in column {column}")


def _mapped(cell: str, settings: ValueSettings) -> str | None:
    return cell if settings.map is None else _look_up(cell, settings.map, settings.column or "")


def _value(row: Row, settings: ValueSettings) -> str | None:
    if settings.column is None:
        return settings.value
    cell = cell_text(row.get(settings.column))
    return _mapped(cell, settings) or None


def content_hash(*parts: str) -> str:
    """128 bits of SHA-256 over the parts, in hexadecimal; stable across machines and versions."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def named_columns(source: SourceSettings) -> set[str]:
    """The columns that the source's config names."""
    votes = {column for columns in source.votes.values() for column in columns}
    return {source.text, *source.parallel, *source.lists, *votes, *_deciding_columns(source)}


def _deciding_columns(source: SourceSettings) -> list[str]:
    """The columns that decide what an example holds beside its text."""
    named = [source.family, source.language.column, source.split.column, source.hard_negative.column]
    named += [column for columns in source.labels.values() for column in columns]
    named += [settings.column for settings in source.attributes.values()]
    return [name for name in named if name]


def check_columns(columns: Collection[str], source: SourceSettings) -> None:
    """See that every column that the source's config names is among those that its rows have.

    Raises
    ------
    UserError
        If one is not; the message lists those there are.
    """
    if missing := sorted(named_columns(source).difference(columns)):
        raise UserError(
            f"source {source.name} has no column {missing[0]!r}: its columns are {', '.join(map(str, columns))}; "
            f"correct configs/source/{source.name}.yaml"
        )


def to_example(row: Row, source: SourceSettings, heads: Sequence[str], salt: str | None = None, translation: str | None = None) -> Example:
    """Map one row as the source's config says; with `translation`, that parallel column's text instead of the source's.

    Returns the source's part of an example (its family is decided later, among all sources) and, for that, two helper
    values: `normalised`, the text as models see it, and `declared_family`, or None. A head without judgement is None.

    Raises
    ------
    Rejection
        If the text is empty or holds NUL, it or a value is undecodable, a value is not in its map, or one is no language, split
        or hard negative.
    """
    received, normalised = _texts(row, translation or source.text, source)
    for column in _deciding_columns(source):
        if _UNDECODED.search(cell_text(row.get(column))):
            raise Rejection(f"column {column} is not valid in its file's encoding")
    labels = {head: _label(row, source, head) for head in heads}
    language = _language(source.parallel[translation] if translation else _value(row, source.language) or "und")
    assigned = "test" if source.evaluation_only else None if source.labels else "train"
    split = assigned or _value(row, source.split)
    if split is not None and split not in SPLITS:
        raise Rejection(f"unknown split {split[:40]!r}")
    hard_negative = _value(row, source.hard_negative)
    if hard_negative is not None and hard_negative not in HARD_NEGATIVES:
        raise Rejection(f"unknown hard negative {hard_negative[:40]!r}")
    key = [salt] if salt else []
    family = cell_text(row.get(source.family)) if source.family else ""
    if not family and source.parallel:
        family = content_hash(*key, cell_text(row.get(source.text)))
    return {
        "id": content_hash(*key, source.name, language, received),
        "text": received,
        "language": language,
        "script": dominant_script(ADDRESS.sub(" ", received)),
        **labels,
        "split": split,
        "hard_negative": hard_negative,
        "attributes": _attributes(row, source),
        "normalised": normalised,
        "declared_family": f"{source.name}/{family}" if family else None,
    }


def _texts(row: Row, column: str, source: SourceSettings) -> tuple[str, str]:
    """The text as received, without outer white space, and as models see it."""
    text = str(row[column]).strip() if row.get(column) is not None else ""
    if not text:
        raise Rejection("empty text")
    if "\0" in text:
        raise Rejection("NUL byte in the text")
    if _UNDECODED.search(text):
        raise Rejection("text is not valid in its file's encoding")
    normalised = normalise(text)
    if not normalised:
        raise Rejection("text is empty after normalisation")
    return text, normalised


def _language(text: str) -> str:
    tag = language_tag(text)
    if tag is None:
        raise Rejection(f"unknown language {text[:40]!r}")
    return tag


def judgements(row: Row, source: SourceSettings, head: str) -> list[int | None]:
    """Each annotator's judgement of a head, from the columns that the source's `votes` name.

    A vote means what the same cell means as a label: in the map of its own column if that is a label too, else in the first
    map that judges it. A cell that no map covers is no judgement, and neither is an empty one unless a map names it.
    """
    tables = source.labels.get(head, {})
    return [
        _vote(cell_text(row.get(column)), [tables[column]] if column in tables else [*tables.values()])
        for column in source.votes.get(head, [])
    ]


def _vote(cell: str, tables: Sequence[Mapping[str, int | None]]) -> int | None:
    for table in tables:
        label = table.get(cell, table.get(ANY_OTHER_VALUE) if cell else None)
        if label is not None:
            return label
    return None


def _label(row: Row, source: SourceSettings, head: str) -> int | None:
    """The judgement of the first column that has one. Of several values in a cell a positive decides, else a negative."""
    for column, table in source.labels.get(head, {}).items():
        cell = row.get(column)
        items = None if cell_text(cell) in table else cell_items(cell, source.lists.get(column))
        labels = [_look_up(item, table, column) for item in (items or [""] if items is not None else [cell_text(cell)])]
        if judged := [int(label) for label in labels if label is not None]:
            return max(judged)
    return None


def _attributes(row: Row, source: SourceSettings) -> dict[str, Any]:
    attributes: dict[str, Any] = {"stance": None, "voice": None, "technique": None, "code_switched": None, "date": None}
    for name, settings in source.attributes.items():
        cell = row.get(settings.column) if settings.column else settings.value
        if name == "technique":
            items = cell_items(cell, source.lists.get(settings.column or ""))
            attributes[name] = None if items is None else [named for item in items if (named := _mapped(item, settings)) is not None]
        elif name == "date":
            attributes[name] = _date(cell_text(cell))
        elif name == "code_switched":
            attributes[name] = (_value(row, settings) or "").lower() == "true"
        else:
            attributes[name] = _value(row, settings)
    return attributes


def _date(cell: str) -> datetime.date | None:
    """The day an ISO 8601 date or time names; None for anything else, so that a date in doubt never pretends to be one.

    >>> _date("2024-02-29T23:59:59+05:00"), _date("29/02/24")
    (datetime.date(2024, 2, 29), None)
    """
    try:
        return datetime.datetime.fromisoformat(cell).date()
    except ValueError:
        return None
