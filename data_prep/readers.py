"""Files become rows: one generator per format, none of them aware of any data set.

A row is a dict from column name to value. A row that cannot be read is yielded as `Malformed`, so that
the accounts of a source always balance.
"""

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import openpyxl
import pyarrow as pa
import pyarrow.parquet

from data_prep.command import UserError
from data_prep.compression import open_seekable, unpacked_name
from data_prep.detection import FORMATS, QUOTINGS, detect, open_text
from data_prep.settings import ReaderSettings
from data_prep.templates import read_templates

Row = dict[str, Any]

BATCH = 1_000  # rows of a columnar file that are in memory as Python's objects
HUB = "hf://"
WILDCARDS = r"({\w+}|\*\*/?|\*|\?|\[[^]]+\])"
END_OF_FILE = "\0END\0"
DATASET_METADATA = {"dataset_info.json", "state.json", "dataset_dict.json"}  # beside the rows in a folder of `save_to_disk`


@dataclass(frozen=True)
class Malformed:
    """A row that its format does not allow, and why."""

    reason: str


def _read_delimited(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    delimiter, quoting = settings.delimiter or ",", settings.quoting or "double"
    if quoting == "none":
        yield from _read_lines(path, settings, delimiter)
        return
    with open_text(path, settings, newline="") as file:
        rows = csv.reader(itertools.chain(file, [END_OF_FILE]), delimiter=delimiter, **QUOTINGS[quoting])
        row_end = 0
        try:
            header = _column_names(next(filter(None, rows)))
            width = len(header)
            for cells in rows:
                if cells and cells[-1].endswith(END_OF_FILE):
                    if cells != [END_OF_FILE]:
                        yield Malformed(
                            f"a quotation mark in the row of line {row_end + 1} is not closed and takes in the rest of the file"
                        )
                elif len(cells) == width:
                    yield dict(zip(header, cells, strict=True))
                elif cells:
                    yield _ragged(cells, header)
                row_end = rows.line_num
        except csv.Error as error:
            raise UserError(
                f"{path} cannot be read from line {row_end + 1} on ({error}): a quotation mark may never be closed there; "
                "set reader.quoting=none if quotation marks are characters like any other"
            ) from error


def _read_lines(path: Path, settings: ReaderSettings, delimiter: str) -> Iterator[Row | Malformed]:
    """Without quoting a line is a row, and a lone carriage return is a character of its cell."""
    with open_text(path, settings, newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in file)
        header = _column_names(next(filter(None, lines), "").split(delimiter))
        for line in filter(None, lines):
            cells = line.split(delimiter)
            yield dict(zip(header, cells, strict=True)) if len(cells) == len(header) else _ragged(cells, header)


def _ragged(cells: Sequence[object], header: Sequence[str]) -> Malformed:
    return Malformed(f"{len(cells)} fields where the header has {len(header)}")


def _column_names(cells: Iterable[object]) -> list[str]:
    """A header's names; a repeated one is numbered as pandas does: `label`, `label.1`."""
    repeats: Counter[str] = Counter()
    names = []
    for cell in map(str, cells):
        names.append(f"{cell}.{repeats[cell]}" if repeats[cell] else cell)
        repeats[cell] += 1
    return names


def _read_jsonl(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    with open_text(path, settings) as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Malformed(f"not JSON: {error}")
                continue
            yield row if isinstance(row, dict) else Malformed("a JSON value that is not an object")


def _read_json(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """A list of objects, or an object of objects (whose keys become the column `key`)."""
    try:
        with open_text(path, settings) as file:
            document = json.load(file)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): check the file or the source's reader.format") from None
    if isinstance(document, dict):
        document = [{"key": key, **row} if isinstance(row, dict) else row for key, row in document.items()]
    if not isinstance(document, list):
        raise UserError(f"{path} holds a single value: a JSON file is to hold a list of objects, one for each row")
    for row in document:
        yield row if isinstance(row, dict) else Malformed("a JSON value that is not an object")


def _read_parquet(path: Path, settings: ReaderSettings) -> Iterator[Row]:
    with open_seekable(path) as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=BATCH):
            yield from _rows_of_batch(batch)


def _read_arrow(path: Path, settings: ReaderSettings) -> Iterator[Row]:
    """Arrow's file format (Feather 2) or its stream format, which `datasets` writes."""
    with open_seekable(path) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH):
                yield from _rows_of_batch(batch.slice(start, BATCH))


def _rows_of_batch(batch: Any) -> list[Row]:
    """Arrow checks no string, and some programs write texts as binary: bytes are decoded as those of text files are."""
    types = pa.types
    try:
        rows: list[Row] = batch.to_pylist()
    except UnicodeDecodeError:
        fields = [field.with_type(pa.binary()) if types.is_string(field.type) else field for field in batch.schema]
        batch = batch.cast(pa.schema(fields))
        rows = batch.to_pylist()
    for name in (field.name for field in batch.schema if types.is_binary(field.type) or types.is_large_binary(field.type)):
        for row in rows:
            if row[name] is not None:
                row[name] = row[name].decode("utf-8", "surrogateescape")
    return rows


def _read_xlsx(path: Path, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """The first sheet. A row may end before the last column, as spreadsheets leave empty cells out."""
    with open_seekable(path) as file:  # a handle, because openpyxl judges paths by their extension
        sheet = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        rows = (_without_empty_end(cells) for cells in sheet.iter_rows(values_only=True))
        header = _column_names(next(rows, ()))
        for cells in filter(None, rows):
            missing = len(header) - len(cells)
            yield dict(zip(header, (*cells, *[None] * missing), strict=True)) if missing >= 0 else _ragged(cells, header)


def _without_empty_end(cells: Sequence[Any]) -> Sequence[Any]:
    return cells[: max((number for number, cell in enumerate(cells, 1) if cell is not None), default=0)]


_READERS: dict[str, Callable[[Path, ReaderSettings], Iterator[Row | Malformed]]] = {
    "csv": _read_delimited,
    "tsv": _read_delimited,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "xlsx": _read_xlsx,
    "templates": lambda path, settings: iter(read_templates(path)),
}


def read_rows(root: Path, pattern: str, settings: ReaderSettings) -> Iterator[Row | Malformed]:
    """Every row of every file below `root` that matches `pattern`, files in sorted order.

    A pattern may hold `*`, `?`, `[...]` and `**`, and names in braces: a name matches one path part or a piece of it
    and becomes a column of the file's rows. `sib/{folder}/{part}.tsv` gives each row the columns `folder` and `part`.
    Where only folders match, the files below them are read; unless a format is set, those whose extension tells theirs.
    `hf://owner/name` is a data set on the Hugging Face hub.

    Raises
    ------
    UserError
        If no file matches, the format is unknown, a file cannot be decoded as configured or is broken off, or the hub
        cannot be reached.
    """
    if settings.format is not None and settings.format not in _READERS:
        raise UserError(f"reader.format={settings.format} is unknown: use one of {', '.join(sorted(_READERS))}")
    if pattern.startswith(HUB):
        from data_prep.hub import read_hub  # importing `datasets` takes a second that other sources need not wait for

        yield from read_hub(pattern, settings)
        return
    for path, captured in matching_files(root, pattern, settings.format).items():
        detected = detect(path, settings)
        try:
            for row in _READERS[detected.format or ""](path, detected):
                yield row if isinstance(row, Malformed) or not captured else {**row, **captured}
        except (OSError, ValueError, LookupError, BadZipFile) as error:  # UnicodeError and ArrowInvalid are ValueErrors
            raise UserError(
                f"{path} cannot be read as {detected.format}: {error}; check the file or the source's reader settings"
            ) from error


def matching_files(root: Path, pattern: str, format_: str | None = None) -> dict[Path, dict[str, str]]:
    """The files below `root` that `read_rows` would read, in its order, with what the names in braces match.

    None for a data set on the hub. `format_` is the one set, if any: without it files are passed over whose extensions
    tell none, such as a README beside them.

    Raises
    ------
    UserError
        If no file matches, or the pattern is none.
    """
    if pattern.startswith(HUB):
        return {}
    if PurePosixPath(pattern).is_absolute():
        raise UserError(f"files={pattern} is an absolute path: give a path below data_root, and set data_root to a folder above the file")
    if ".." in PurePosixPath(pattern).parts:
        raise UserError(f"files={pattern} leaves data_root: give a path below it without .., and set data_root to a folder above the file")
    pattern = PurePosixPath(pattern).as_posix()
    try:
        matcher = re.compile("".join(map(_as_regex, re.split(WILDCARDS, pattern))))
        found = [root] if pattern == "." else sorted(root.glob(re.sub(r"{\w+}", "*", pattern)))
    except (re.error, ValueError) as error:
        raise UserError(f"files={pattern} is not a path pattern: {error}") from error
    matches = {path: match.groupdict() for path in found if (match := matcher.fullmatch(path.relative_to(root).as_posix()))}
    files = {
        path: captured
        for path, captured in matches.items()
        if path.is_file() and (path.name not in DATASET_METADATA or pattern.endswith(path.name))
    }
    if readable := {path: captured for path, captured in files.items() if format_ or _holds_rows(path, root)}:
        return readable
    folders = {path: captured for path, captured in matches.items() if path.is_dir() and matches.keys().isdisjoint(path.parents)}
    below = {
        path: captured
        for folder, captured in folders.items()
        for path in sorted(folder.rglob("*"))
        if _holds_rows(path, folder) and format_ in (None, FORMATS[unpacked_name(path).suffix.lower()])
    }
    if not below and not files:
        raise UserError(
            f"no file matches {root / pattern}: download the data set (python -m data_prep.fetch) or set data_root to "
            "the folder that holds it"
            if not folders
            else f"{root / pattern} holds no file with one of the extensions {', '.join(FORMATS)}: name its files by a pattern"
        )
    return below or files


def _holds_rows(path: Path, folder: Path) -> bool:
    """Whether a file found in a folder is of a known format, and not hidden, temporary or about the others."""
    hidden = any(part.startswith((".", "~", "__")) for part in path.relative_to(folder).parts)
    return unpacked_name(path).suffix.lower() in FORMATS and not hidden and path.name not in DATASET_METADATA and path.is_file()


def _as_regex(piece: str) -> str:
    """A literal piece of a path pattern, or a wildcard, as a regular expression."""
    if re.fullmatch(r"{\w+}", piece):
        return f"(?P<{piece[1:-1]}>[^/]+?)"
    if piece.startswith("[") and piece.endswith("]"):
        return piece.replace("[!", "[^")
    return {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece) or re.escape(piece)
