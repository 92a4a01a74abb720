"""The manifest and the datasheet: what is in a prepared mixture, in numbers, without any raw text."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from data_prep.settings import DataPrepSettings
from data_prep.table import SPLITS


def build_manifest(
    settings: DataPrepSettings, accounts: dict[str, dict[str, int]], table: pa.Table, config_hash: str, file_hashes: dict[str, str]
) -> dict[str, Any]:
    """The machine-readable account: rows in = kept + duplicates + leaking + rejected for every source.

    Raises
    ------
    AssertionError
        If an account does not balance: a row was lost, which is a bug and must never be published.
    """
    for name, account in accounts.items():
        accounted = account["kept"] + account["duplicates"] + account["leaking"] + account["rejected"]
        if account["rows_in"] != accounted:
            raise AssertionError(f"source {name}: {account['rows_in']} rows in, {accounted} accounted for")
    return {
        "mixture": settings.mixture.name,
        "heads": sorted(settings.heads),
        "rows": table.num_rows,
        "config_sha256": config_hash,
        "table_sha256": file_hashes,
        "sources": {
            name: {
                **accounts[name],
                "title": source.title,
                "origin": source.origin,
                "licence": source.licence,
                "non_commercial": source.non_commercial,
                "cite": source.cite,
                "sense": source.sense,
            }
            for name, source in settings.mixture.sources.items()
        },
        "counts": count_cells(table, sorted(settings.heads)),
    }


def count_cells(table: pa.Table, heads: Sequence[str]) -> list[dict[str, Any]]:
    """Rows, negatives and positives per source, language, head and split, sorted; masked rows are not counted."""
    counter: Counter[tuple[str, str, str, str, int]] = Counter()
    sources, languages, splits = (table[name].to_pylist() for name in ("source", "language", "split"))
    for head in heads:
        for source, language, split, label in zip(sources, languages, splits, table[head].to_pylist(), strict=True):
            if label is not None:
                counter[source, language, head, split, label] += 1
    cells = sorted({key[:4] for key in counter}, key=lambda cell: (cell[0], cell[1], cell[2], SPLITS.index(cell[3])))
    return [
        {
            "source": source,
            "language": language,
            "head": head,
            "split": split,
            "negatives": counter[source, language, head, split, 0],
            "positives": counter[source, language, head, split, 1],
        }
        for source, language, head, split in cells
    ]


def render_datasheet(manifest: dict[str, Any]) -> str:
    """The manifest as Markdown for people; it shows counts and terms, never a text."""
    sources = manifest["sources"]
    non_commercial = sorted(name for name, source in sources.items() if source["non_commercial"])
    lines = [f"# Datasheet: {manifest['mixture']}", "", f"{manifest['rows']:,} rows from {len(sources)} source(s).", ""]
    if "sample" in sources:
        lines += [
            "> **Machine-assisted and not validated by native speakers.** The embedded sample is written from templates "
            "with fictional groups and places. It is good for trying the pipeline, not for release claims.",
            "",
        ]
    if non_commercial:
        lines += [f"> **Contains non-commercial sources** ({', '.join(non_commercial)}): so is every model trained on it.", ""]
    lines += [
        "## Accounts",
        "",
        "Rows in = kept + duplicates + leaking + rejected; each row not kept is in `rejected.jsonl` with its reason.",
        "",
        "| source | rows in | kept | duplicates | leaking | rejected | labels masked (conflict) | licence |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, source in sources.items():
        numbers = " | ".join(f"{source[key]:,}" for key in ("rows_in", "kept", "duplicates", "leaking", "rejected", "conflicts"))
        lines.append(f"| {name} | {numbers} | {source['licence']} |")
    lines += [
        "",
        "## Counts",
        "",
        "Negatives / positives that carry a judgement for the head.",
        "",
        "| source | language | head | sense | train | validation | test |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in manifest["counts"]:
        row = rows.setdefault((cell["source"], cell["language"], cell["head"]), {})
        row[cell["split"]] = f"{cell['negatives']:,} / {cell['positives']:,}"
    for (source_name, language, head), cells in rows.items():
        sense = sources[source_name]["sense"].get(head, "")
        lines.append(f"| {source_name} | {language} | {head} | {sense} | " + " | ".join(cells.get(split, "–") for split in SPLITS) + " |")
    lines += [
        "",
        "## Declared and detected language",
        "",
        "Counted, never changed; the detector is itself wrong in a few per cent of posts (docs/data_prep.md).",
        "",
        "| source | declared | agree | disagree | not checkable | detected most |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in manifest["language_check"]:
        detected = ", ".join(f"{code} {count:,}" for code, count in row["detected"].items())
        numbers = " | ".join(f"{row[key]:,}" for key in ("agree", "disagree", "not_checkable"))
        lines.append(f"| {row['source']} | {row['language']} | {numbers} | {detected} |")
    lines += ["", "## Origins", ""]
    lines += [f"- **{name}**: {source['title']}. {source['origin']}. {source['cite']}" for name, source in sources.items()]
    return "\n".join(lines) + "\n"
