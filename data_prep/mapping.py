"""A source's row becomes an example of the Example table, or a rejection with its reason."""

import ast
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.command import UserError
from data_prep.normaliser import normalise
from data_prep.readers import Row
from data_prep.script import ADDRESS, dominant_script
from data_prep.settings import ANY_OTHER_VALUE, SourceSettings, ValueSettings
from data_prep.table import HARD_NEGATIVES, SPLITS

Example = dict[str, Any]


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


def _value(row: Row, settings: ValueSettings) -> str | None:
    if settings.column is None:
        return settings.value
    cell = cell_text(row.get(settings.column))
    if settings.map is None:
        return cell or None
    return _look_up(cell, settings.map, settings.column)  # type: ignore[no-any-return]


def content_hash(*parts: str) -> str:
    """128 bits of SHA-256 over the parts, in hexadecimal; stable across machines and versions."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_columns(row: Row, source: SourceSettings) -> None:
    """See that the first row of a source has every column that the source's config names.

    Raises
    ------
    UserError
        If it has not; the message lists those it has.
    """
    named = {source.text, source.family, source.language.column, source.split.column, source.hard_negative.column}
    named |= {column for columns in source.labels.values() for column in columns}
    named |= {settings.column for settings in source.attributes.values()} | {*source.parallel}
    named |= {column for columns in source.votes.values() for column in columns} | {*source.lists}
    missing = sorted(name for name in named if name and name not in row)
    if missing:
        raise UserError(
            f"source {source.name} has no column {missing[0]!r}: its columns are {', '.join(map(str, row))}; "
            f"correct configs/source/{source.name}.yaml"
        )


def to_example(row: Row, source: SourceSettings, heads: Sequence[str], salt: str | None = None, translation: str | None = None) -> Example:
    """Map one row as the source's config says; with `translation`, that parallel column's text instead of the source's.

    Returns the source's part of an example (its family is decided later, among all sources) and, for that, two helper
    values: `normalised`, the text as models see it, and `declared_family`, or None. A head without judgement is None.

    Raises
    ------
    Rejection
        If the text is empty, undecodable or holds NUL, or a value is not in its map.
    """
    received, normalised = _texts(row, translation or source.text, source)
    labels = {head: _label(row, source, head) for head in heads}
    language = source.parallel[translation] if translation else _value(row, source.language) or "und"
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
        family = content_hash(*key, cell_text(row[source.text]))
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
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Rejection("text is not valid in its file's encoding")
    normalised = normalise(text)
    if not normalised:
        raise Rejection("text is empty after normalisation")
    return text, normalised


def judgements(row: Row, source: SourceSettings, head: str) -> list[int | None]:
    """Each annotator's judgement of a head, from the columns that the source's `votes` name.

    The cells mean what the labels' cells mean; a cell that no label map covers is no judgement.
    """
    table = {cell: label for cells in source.labels.get(head, {}).values() for cell, label in cells.items()}
    return [table.get(cell_text(row.get(column)), table.get(ANY_OTHER_VALUE)) for column in source.votes.get(head, [])]


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
            attributes[name] = cell_items(cell, source.lists.get(settings.column or ""))
        elif name == "date":
            attributes[name] = _date(cell_text(cell))
        elif name == "code_switched":
            attributes[name] = cell_text(cell).lower() == "true"
        else:
            attributes[name] = cell_text(cell) or None
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
