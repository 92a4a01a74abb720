"""From configured sources to a published Example table."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset
from tqdm import tqdm

from data_prep.command import UserError
from data_prep.datasheet import build_manifest, render_datasheet
from data_prep.duplicates import assign_families, drop_duplicates
from data_prep.files import publish_folder, sha256, write_json, write_text
from data_prep.language import language_report
from data_prep.mapping import Example, Rejection, cell_text, check_columns, content_hash, to_example
from data_prep.readers import Malformed, Row, read_rows
from data_prep.settings import DataPrepSettings, SourceSettings
from data_prep.splits import assign_splits
from data_prep.table import example_schema

REPOSITORY = Path(__file__).resolve().parent.parent


def prepare(settings: DataPrepSettings) -> Path:
    """Prepare the mixture and publish `data/<mixture>/` atomically.

    Raises
    ------
    UserError
        If a source's files are missing or unreadable, a label value is unknown in every row, or nothing is left.
    """
    heads = sorted(settings.heads)
    accounts: dict[str, dict[str, int]] = {}
    examples: list[Example] = []
    refused: list[dict[str, Any]] = []
    for source in settings.mixture.sources.values():
        kept, rejections, rows_in = map_source(source, settings, heads)
        kept, duplicates, conflicts = drop_duplicates(kept, heads)
        examples += kept
        refused += rejections + [
            {"source": source.name, "reason": "duplicate", "id": row["id"], "duplicate_of": row["duplicate_of"], "text": row["text"]}
            for row in duplicates
        ]
        accounts[source.name] = {
            "rows_in": rows_in, "rejected": len(rejections), "duplicates": len(duplicates), "conflicts": conflicts,
        }  # fmt: skip
    if not examples:
        raise UserError(f"mixture {settings.mixture.name} has no usable row: check its sources' files and label mappings")
    assign_families(examples)
    examples, leaking = assign_splits(examples, settings.mixture)
    refused += [
        {"source": row["source"], "reason": "its family is in a higher official split", "id": row["id"], "text": row["text"]}
        for row in leaking
    ]
    for name, account in accounts.items():
        account["leaking"] = sum(row["source"] == name for row in leaking)
        account["kept"] = sum(row["source"] == name for row in examples)
    return _publish(settings, heads, examples, refused, accounts)


def map_source(source: SourceSettings, settings: DataPrepSettings, heads: list[str]) -> tuple[list[Example], list[dict[str, Any]], int]:
    """Read and map one source: its examples, its rejections (with row numbers) and the number of rows read.

    Raises
    ------
    UserError
        If a configured column is missing, the source has no row, or every row is rejected.
    """
    root = REPOSITORY if source.embedded else Path(settings.data_root)
    examples: list[Example] = []
    rejections: list[dict[str, Any]] = []
    number = 0
    for row in tqdm(_joined_rows(root, source), desc=f"reading {source.name}", unit=" rows", disable=None):
        number += 1
        try:
            if isinstance(row, Malformed):
                raise Rejection(row.reason)
            if not examples and not rejections:
                check_columns(row, source)
            examples.append(to_example(row, source, heads))
        except Rejection as rejection:
            text = "" if isinstance(row, Malformed) else cell_text(row.get(source.text))
            rejections.append(
                {
                    "source": source.name,
                    "row": number,
                    "reason": rejection.reason,
                    "text": text[:500].encode("utf-8", "backslashreplace").decode(),
                }
            )
    if not number:
        raise UserError(f"source {source.name} is empty: {root / source.files} holds no row")
    if not examples:
        raise UserError(
            f"source {source.name}: all {number} rows were rejected, the first because of {rejections[0]['reason']}; "
            f"correct its files or configs/source/{source.name}.yaml"
        )
    unknown = [rejection for rejection in rejections if rejection["reason"].startswith("unknown value")]
    if unknown:
        raise UserError(
            f"source {source.name}, row {unknown[0]['row']}: {unknown[0]['reason']} ({len(unknown)} such rows); "
            f'name it in the map of configs/source/{source.name}.yaml, or cover the rest with "*"'
        )
    return examples, rejections, number


def _joined_rows(root: Path, source: SourceSettings) -> Iterator[Row | Malformed]:
    partners: list[tuple[str, list[str], dict[str, Row]]] = []
    for join in source.join:
        rows = [row for row in read_rows(root, join.files, source.reader) if not isinstance(row, Malformed)]
        partners.append((join.by, join.add, {cell_text(row[join.by]): row for row in rows}))
    for row in read_rows(root, source.files, source.reader):
        if isinstance(row, dict):
            for key, columns, table in partners:
                partner = table.get(cell_text(row.get(key)), {})
                row.update({column: partner.get(column) for column in columns})
        yield row


def _publish(
    settings: DataPrepSettings,
    heads: list[str],
    examples: list[Example],
    refused: list[dict[str, Any]],
    accounts: dict[str, dict[str, int]],
) -> Path:
    schema = example_schema(heads)
    table = pa.Table.from_pylist(examples, schema=schema)
    target = Path(settings.data_dir) / settings.mixture.name
    with publish_folder(target) as folder:
        progress = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        Dataset(table).save_to_disk(str(folder / "table"))
        if progress:
            datasets.enable_progress_bars()
        write_text(folder / "rejected.jsonl", "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in refused))
        hashes = {path.name: sha256(path) for path in sorted((folder / "table").glob("*.arrow"))}
        config_hash = content_hash(json.dumps(asdict(settings.mixture), sort_keys=True))
        manifest = build_manifest(settings, accounts, table, config_hash, hashes)
        manifest["language_check"] = language_report(tqdm(examples, desc="checking languages", unit=" rows", disable=None))
        write_json(folder / "manifest.json", manifest)
        write_text(folder / "datasheet.md", render_datasheet(manifest))
    return target
