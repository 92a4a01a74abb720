"""The manifest and the datasheet: what is in a prepared mixture, in numbers, without any raw text."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

from data_prep.agreement import Agreement
from data_prep.licences import TERMS, terms_together
from data_prep.settings import DataPrepSettings
from data_prep.table import SPLITS

LONGEST_CELL = 40  # characters of a label, a language or a quoted cell that a datasheet may show
REASONS_SHOWN = 10  # per source; all are in rejected.jsonl
_NO_AGREEMENT: dict[str, Any] = dict.fromkeys(field.name for field in fields(Agreement))


def build_manifest(
    settings: DataPrepSettings, accounts: dict[str, dict[str, Any]], table: pa.Table, config_hash: str, file_hashes: dict[str, str]
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
                "held_out": source.evaluation_only,
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
    environment = _environment(autoescape=False, finalize=_markdown)
    return environment.get_template("datasheet.md.jinja").render(_context(manifest))


def render_datasheet_html(manifest: dict[str, Any]) -> str:
    """The same as `render_datasheet` as one self-contained page, with a plot of the counts; no script, nothing to load."""
    environment = _environment(autoescape=True, finalize=_printable)
    return environment.get_template("datasheet.html.jinja").render(_context(manifest))


def plot_counts(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Where the marks of the counts' plot stand: per head and language one line, per split negatives and positives on a log axis.

    On a log axis the distance of two marks is the ratio of their counts, whether there are 3 rows or 30,000; a bar's
    length would say nothing there. Zero, which has no logarithm, stands left of the axis.

    Returns
    -------
    `ticks` (label and position of 0, 1, 10, ... below the highest count) and `heads`: head -> languages, most rows first, each
    with `language` and `splits`: split -> `negatives`, `positives` and their positions `x_negatives`, `x_positives`.
    Positions are fractions of the axis, 0 for zero and 1 for the highest count.
    """
    totals: Counter[tuple[str, str, str, str]] = Counter()
    for cell in counts:
        for label in ("negatives", "positives"):
            totals[cell["head"], cell["language"], cell["split"], label] += cell[label]
    decades = math.log10(max([10, *totals.values()]))

    def position(count: int) -> float:
        return 0.0 if count == 0 else (1 + math.log10(count)) / (1 + decades)

    heads: dict[str, list[dict[str, Any]]] = {head: [] for head in sorted({key[0] for key in totals})}
    for head, language in sorted({key[:2] for key in totals}):
        splits = {}
        for split in SPLITS:
            negatives, positives = (totals[head, language, split, label] for label in ("negatives", "positives"))
            if negatives or positives:
                splits[split] = {
                    "negatives": negatives, "positives": positives,
                    "x_negatives": position(negatives), "x_positives": position(positives),
                }  # fmt: skip
        heads[head].append({"language": language, "splits": splits})
    for lines in heads.values():
        lines.sort(key=lambda line: -sum(cell["negatives"] + cell["positives"] for cell in line["splits"].values()))
    ticks = [("0", 0.0)] + [(_short(10**decade), position(10**decade)) for decade in range(int(decades) + 1)]
    return {"ticks": ticks, "heads": heads}


def shown_reasons(reasons: dict[str, int]) -> list[tuple[str, int]]:
    """Reasons of rejection and their rows, most frequent first, fit to be shown: a quoted cell is cut to 40 characters.

    A mapping that names a column of texts by mistake rejects rows with "unknown value '...'" and would quote the texts here.

    >>> shown_reasons({"empty text": 2, "unknown split 'Ruvel holds its yearly fair on the market square today'": 3})
    [("unknown split 'Ruvel holds its yearly fair on the marke…'", 3), ('empty text', 2)]
    """
    shown: Counter[str] = Counter()
    for reason, rows in reasons.items():
        shown[re.sub(rf"""(['"])(.{{{LONGEST_CELL}}})(?:.*\1(?= in column |$)|.+)""", r"\1\2…\1", reason, flags=re.DOTALL)] += rows
    return shown.most_common()


def _context(manifest: dict[str, Any]) -> dict[str, Any]:
    """What both templates show. Facts that a manifest does not hold (an older one) are empty, and so left out."""
    sources = manifest["sources"]
    cells: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for cell in manifest["counts"]:
        cells.setdefault((cell["source"], cell["language"], cell["head"]), {})[cell["split"]] = cell
    columns = {"rows_in": "rows in", "kept": "kept", "duplicates": "duplicates", "leaking": "leaking", "rejected": "rejected"}
    beside = {"near_duplicates": "near duplicates", "conflicts": "labels masked (conflict)"}  # not part of the sum
    columns |= {key: title for key, title in beside.items() if any(key in source for source in sources.values())}
    if any(source.get("unparsable_dates") for source in sources.values()):
        columns["unparsable_dates"] = "unparsable dates"
    held_out = {name: {**source, "held_out": True} for name, source in manifest.get("held_out", {}).items()}
    reasons = {name: shown_reasons(source.get("rejected_by_reason", {})) for name, source in sources.items()}
    leakage = manifest.get("leakage", {})
    facts = {key: value for key, value in leakage.items() if key not in ("checked", "passes", "remaining", "removed")}
    licences = terms_together(sources | held_out)
    return {
        "mixture": manifest["mixture"],
        "rows": manifest["rows"],
        "heads": manifest["heads"],
        "languages": len({cell["language"] for cell in manifest["counts"]}),
        "sources": sources,
        "held_out": held_out,
        "columns": columns,
        "totals": {key: sum(source.get(key, 0) for source in sources.values()) for key in columns},
        "reasons": {name: found[:REASONS_SHOWN] for name, found in reasons.items() if found},
        "more_reasons": {name: len(found) - REASONS_SHOWN for name, found in reasons.items()},
        "leakage": leakage,
        "passes": leakage.get("passes", not leakage.get("remaining")),
        "checked": _pairs(facts | leakage.get("checked", {})),
        "families": manifest.get("families"),
        "cells": [
            (
                source,
                language,
                head,
                sources[source]["sense"].get(head, ""),
                sources[source].get("as_read", {}).get(head, {}).get(language),
                splits,
            )
            for (source, language, head), splits in cells.items()
        ],
        "plot": plot_counts(manifest["counts"]),
        "splits": [{**row, "rows": sum(row[split] for split in SPLITS)} for row in manifest.get("splits", [])],
        "agreement": [
            (name, head, _NO_AGREEMENT | found)
            for name, source in sources.items()
            for head, found in sorted(source.get("agreement", {}).items())
            if found["rows"]
        ],
        "language_check": manifest.get("language_check", []),
        "licences": licences,
        "non_commercial": licences.get("non_commercial", []),
        "terms": TERMS,
        "config_sha256": manifest["config_sha256"],
        "table_sha256": manifest["table_sha256"],
        "split_names": SPLITS,
    }


@cache
def _environment(autoescape: bool, finalize: Callable[[Any], Any]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        finalize=finalize,
    )
    environment.filters.update(number=_number, share=_share, two=_two, label=_label, cut=_cut)
    return environment


def _printable(value: Any) -> Any:
    """A value on one line, with invisible and direction-changing characters written out as escapes."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in value)


def _markdown(value: Any) -> str:
    """A value as Markdown that shows it and does nothing else: no table cell, link, emphasis or element begins in it."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", str(_printable(value))).replace("<", "&lt;")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"


def _pairs(facts: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Nested facts as flat pairs of a name and a value; inner keys, which may be names of sources, are left as they are."""
    pairs: list[tuple[str, Any]] = []
    for key, value in facts.items():
        name = f"{before}{key}" if before else key.replace("_", " ")
        pairs += _pairs(value, f"{name}, ") if isinstance(value, dict) else [(name, value)]
    return pairs


def _label(value: Any) -> str:
    return {0: "negative", 1: "positive", None: "no judgement"}.get(value, str(value))


def _number(value: Any) -> str:
    """A count with thousands separated, a fraction as a percentage; a dash where there is none; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else _cut(str(value))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "–"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _short(count: int) -> str:
    """A power of ten for an axis: 1, 10, 100, 1k, 10k, ..., 1M."""
    return f"{count // 10**6}M" if count >= 10**6 else f"{count // 1000}k" if count >= 1000 else str(count)
