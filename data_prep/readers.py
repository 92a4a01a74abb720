"""Files become rows: one generator per format, chosen by configuration, none of them aware of any data set.

A row is a dict from column name to value. A row that cannot be read is yielded as `Malformed`, so that
the accounts of a source always balance.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import openpyxl
import pyarrow.parquet

from data_prep.command import UserError
from data_prep.settings import ReaderSettings
from data_prep.templates import read_templates

Row = dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A row that its format does not allow, and why."""

    reason: str


def _read_csv(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    csv.field_size_limit(2**31 - 1)
    # surrogateescape keeps undecodable bytes visible to the mapping, which rejects the row that holds them
    with path.open(encoding=settings.encoding, errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, delimiter=settings.delimiter)
        header = next(rows, None)
        if header is None:
            return
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(header):
                yield Malformed(f"{len(cells)} fields where the header has {len(header)}")
            else:
                yield dict(zip(header, cells, strict=True))


def _read_tsv(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """Tab-separated without quoting: a quotation mark is a character like any other."""
    with path.open(encoding=settings.encoding, errors="surrogateescape", newline="\n") as file:
        header = file.readline().rstrip("\r\n").split("\t")
        for line in file:
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != len(header):
                yield Malformed(f"{len(cells)} fields where the header has {len(header)}")
            else:
                yield dict(zip(header, cells, strict=True))


def _read_jsonl(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    with path.open(encoding=settings.encoding, errors="surrogateescape") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield Malformed(f"not JSON: {error}")
                continue
            yield row if isinstance(row, dict) else Malformed("a JSON value that is not an object")


def _read_json(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """A list of objects, or an object of objects (whose keys become the column `key`)."""
    try:
        document = json.loads(path.read_text(encoding=settings.encoding))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): check the file or the source's reader.format") from None
    if isinstance(document, dict):
        document = [{"key": key, **row} if isinstance(row, dict) else row for key, row in document.items()]
    for row in document:
        yield row if isinstance(row, dict) else Malformed("a JSON value that is not an object")


def _read_parquet(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=10_000):
        yield from batch.to_pylist()


def _read_xlsx(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    with path.open("rb") as file:  # a handle, because openpyxl judges paths by their extension
        workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
        rows = workbook.worksheets[0].iter_rows(values_only=True)
        header = [str(cell) for cell in next(rows, ())]
        for cells in rows:
            if any(cell is not None for cell in cells):
                yield dict(zip(header, cells, strict=False))


_READERS: dict[str, Callable[[Path, ReaderSettings], Iterator[Row | Malformed]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "parquet": _read_parquet,
    "xlsx": _read_xlsx,
    "templates": lambda path, settings: iter(read_templates(path)),
}


def read_rows(root: Path, pattern: str, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """Every row of every file below `root` that matches `pattern`, files in sorted order.

    A name in braces matches one path part or a piece of it and becomes a column of the file's rows:
    `sib/{folder}/{part}.tsv` gives each row the columns `folder` and `part`.

    Raises
    ------
    UserError
        If no file matches, the format is unknown or a file cannot be decoded as configured.
    """
    if settings.format not in _READERS:
        raise UserError(f"reader.format={settings.format} is unknown: use one of {', '.join(sorted(_READERS))}")
    matcher = re.compile(
        "".join(f"(?P<{piece[1:-1]}>[^/]+?)" if piece.startswith("{") else re.escape(piece) for piece in re.split(r"({\w+})", pattern))
    )
    matches = [
        (path, match.groupdict())
        for path in sorted(root.glob(re.sub(r"{\w+}", "*", pattern)))
        if (match := matcher.fullmatch(path.relative_to(root).as_posix()))
    ]
    if not matches:
        raise UserError(f"no file matches {root / pattern}: download the data set or set data_root to the folder that holds it")
    for path, captured in matches:
        try:
            for row in _READERS[settings.format](path, settings):
                yield row if isinstance(row, Malformed) else {**row, **captured}
        except (OSError, ValueError, KeyError, BadZipFile) as error:  # UnicodeError and ArrowInvalid are ValueErrors
            raise UserError(
                f"{path} cannot be read as {settings.format}: {error}; check the file or the source's reader settings"
            ) from error
