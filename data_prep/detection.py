"""What a file is, told by its name and its content: format, encoding, delimiter and quoting.

A setting that is given is never second-guessed. `python -m data_prep.inspect` proposes what the readers would detect.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from data_prep.command import UserError
from data_prep.compression import open_bytes, unpacked_name
from data_prep.settings import ReaderSettings

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".xlsx": "xlsx",
}  # fmt: skip
TEXT_FORMATS = ("csv", "tsv", "jsonl", "json")
DELIMITERS = (",", ";", "\t", "|")
QUOTINGS: dict[str, dict[str, Any]] = {
    "double": {"doublequote": True},
    "backslash": {"doublequote": True, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
BYTE_ORDER_MARKS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# What spreadsheets export where they do not export Unicode. From some twenty short lines on the library tells these apart;
# left to choose among all, or with cp1250 (Polish, Czech), it takes French and Spanish for those.
LEGACY_ENCODINGS = [
    "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "gb18030", "big5", "cp932", "cp949", "cp874",
]  # fmt: skip
ENOUGH_LINES = 100_000  # of those that are not ASCII
SAMPLE = 1 << 18  # bytes or characters
# A longer field is taken for a quotation mark that nobody closed, before the rest of the file fills the memory.
csv.field_size_limit(1 << 26)


def detect(path: Path, settings: ReaderSettings) -> ReaderSettings:
    """The settings for one file, with nothing left null that its format needs.

    Raises
    ------
    UserError
        If the file's extension tells no format, or the file cannot be read as far as needed.
    """
    format_ = settings.format or FORMATS.get(unpacked_name(path).suffix.lower())
    if format_ is None:
        raise UserError(f"{path} has none of the extensions {', '.join(FORMATS)}: say in the source's reader.format what it is")
    if format_ not in TEXT_FORMATS:
        return replace(settings, format=format_)
    # what is called TSV has no quoting by its definition (the media type's), whatever files with that extension do
    quoting = settings.quoting or ("none" if settings.format == "tsv" else None)
    try:
        detected = replace(settings, format=format_, encoding=settings.encoding or _detect_encoding(path), quoting=quoting)
        if format_ in ("csv", "tsv"):
            return _detect_dialect(path, detected)
        return replace(detected, format="jsonl") if settings.format is None and _has_an_object_a_line(path, detected) else detected
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path} cannot be read as {format_}: {error}; check the file or the source's reader settings") from error


def open_text(path: Path, settings: ReaderSettings, newline: str | None = None) -> io.TextIOWrapper:
    """Open a text file; bytes that are not of the encoding become surrogates, so that only the row that holds them is lost."""
    encoding = settings.encoding or "utf-8-sig"
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a byte order mark is no part of the first column's name
    return io.TextIOWrapper(open_bytes(path), encoding, errors="surrogateescape", newline=newline)


def _has_an_object_a_line(path: Path, settings: ReaderSettings) -> bool:
    """Whether a file, called .json as many such are, holds JSON lines: its first line is whole, and not the last."""
    with open_text(path, settings) as file:
        lines = filter(None, (line.strip() for line in file))
        first, second = next(lines, ""), next(lines, "")
    return first.startswith("{") and first.endswith("}") and second.startswith("{")


def _detect_encoding(path: Path) -> str:
    """UTF-8 unless most lines that are not ASCII are not UTF-8: a few broken rows must not turn all others into noise."""
    valid = invalid = 0
    sample = b""
    with open_bytes(path) as file:
        start = file.peek(4)
        for mark, encoding in BYTE_ORDER_MARKS:
            if start.startswith(mark):
                return encoding
        newline = start.find(b"\n")  # in UTF-16, whose mark may be missing, it and the column name before it have every other byte NUL
        if newline % 2 == 0 and start[newline - 1 : newline + 2] == b"\0\n\0":
            return "utf-16-le"
        if newline >= 3 and newline % 2 == 1 and start[newline - 3 : newline : 2] == b"\0\0":
            return "utf-16-be"
        for line in file:
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                valid += 1
            except UnicodeDecodeError:
                invalid += 1
                if len(sample) < SAMPLE:
                    sample += line
            if valid + invalid == ENOUGH_LINES:
                break
    if invalid <= valid:
        return "utf-8-sig"
    best = from_bytes(sample, steps=50, cp_isolation=LEGACY_ENCODINGS).best()
    if best is None:
        return "latin-1"  # which reads anything
    # The Turkish and the Western code page differ in six letters, which are Icelandic in the Western one, and rarer than Turkish.
    letters = sample.translate(None, bytes(range(128)))
    differing = len(letters) - len(letters.translate(None, b"\xd0\xdd\xde\xf0\xfd\xfe"))
    return "cp1254" if best.encoding == "cp1252" and 10 * differing > len(letters) else best.encoding


def _detect_dialect(path: Path, settings: ReaderSettings) -> ReaderSettings:
    """The delimiter and quoting under which most lines belong to rows as long as the header.

    Quoting is decided by what the cells look like, unless another fits five lines in a hundred better: a mark that is
    not closed swallows lines, and one row in disorder must not leave the quotation marks of all others in their cells.
    """
    usual = ("\t",) if settings.format == "tsv" else DELIMITERS
    delimiters = usual if settings.delimiter is None else (settings.delimiter,)
    quotings = tuple(QUOTINGS) if settings.quoting is None else (settings.quoting,)
    if not set(quotings) <= QUOTINGS.keys():
        raise UserError(f"reader.quoting={settings.quoting} is unknown: use one of {', '.join(QUOTINGS)}, or null to have it detected")
    if any(len(delimiter) != 1 for delimiter in delimiters):
        raise UserError(f"reader.delimiter={settings.delimiter!r} is not one character: give one, or null to have it detected")
    with open_text(path, settings, newline="") as file:
        lines = file.readlines(SAMPLE)
    expected = {delimiter: _expected_quoting("".join(lines), delimiter) for delimiter in delimiters}

    def fit(dialect: tuple[str, str]) -> tuple[bool, float, int]:
        columns, share = _fit(lines, *dialect)
        return columns > 1, share + 0.05 * (dialect[1] == expected[dialect[0]]), columns

    delimiter, quoting = max(itertools.product(delimiters, quotings), key=fit)
    return replace(settings, delimiter=delimiter, quoting=quoting)


def _fit(lines: Sequence[str], delimiter: str, quoting: str) -> tuple[int, float]:
    """How many columns the header has, and which share of the lines belongs to rows of as many cells.

    Strictly: behind a quotation mark that closes a cell must come a delimiter, or the mark was part of the text.
    """
    rows = csv.reader(lines, delimiter=delimiter, strict=True, **QUOTINGS[quoting])
    columns = matching = row_start = 0
    while row_start < len(lines):
        try:
            cells = next(rows, [])
            columns = columns or len(cells)
            matching += (len(cells) == columns) * (rows.line_num - row_start)
        except csv.Error:
            pass
        row_start = rows.line_num
    return columns, matching / max(len(lines), 1)


def _expected_quoting(sample: str, delimiter: str) -> str:
    r"""What the cells look like.

    A mark escaped by a backslash in a quoted cell settles it. Else cells are taken for quoted, but in tab-separated
    text only on evidence: a quoted header, or a cell in quotes with doubled marks or a line break in it.

    >>> [_expected_quoting(cells, ",") for cells in ('"a \\"b\\" c",1', '"a ""b"" c",1', "a,1")]
    ['backslash', 'double', 'double']
    >>> [_expected_quoting(cells, "\t") for cells in ('1\t"a"', '1\t"a ""b"" c"', '1\t"a\nb"')]
    ['none', 'double', 'double']
    """
    between = re.escape(delimiter)
    if re.search(rf'(?:^|{between})"[^"]*+(?<=\\)"[^"{between}\r\n]', sample, re.MULTILINE):
        return "backslash"
    if delimiter != "\t" or sample.startswith('"'):
        return "double"
    quoted = re.finditer(r'(?:^|\t)"((?:[^"\t]|"")*+)"(?=\t|\r?$)', sample, re.MULTILINE)
    return "double" if any('""' in match[1] or "\n" in match[1] for match in quoted) else "none"
