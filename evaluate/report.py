"""The report folder: one page for people, the same in Markdown, JSON and CSV."""

import csv
import io
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from data_prep.files import publish_folder, write_json, write_text
from data_prep.inspect import mask_text
from evaluate.languages import language_name
from evaluate.measures import Cell, Measures
from evaluate.metrics import Rate
from evaluate.predictions import Scored
from evaluate.settings import EvaluateSettings
from train.loss import MASKED
from train.policy import NOT_EVALUATED

CSV_COLUMNS = (
    "head", "language", "sense", "tier", "reason", "n", "positives", "prevalence", "threshold", "f1", "precision", "precision_low",
    "precision_high", "recall", "recall_low", "recall_high", "auroc", "auprc", "fpr", "fpr_low", "fpr_high", "fnr", "fnr_low", "fnr_high",
    "keyword_f1", "all_negative_f1", "precision_at_prevalence",
)  # fmt: skip


def write_report(target: Path, scored: Scored, measures: Measures, settings: EvaluateSettings) -> Path:
    """Write the report folder atomically."""
    context = {
        "name": scored.name,
        "kind": scored.kind,
        "mixture": settings.mixture or scored.record["data_manifest"]["mixture"],
        "non_commercial": [name for name, source in scored.record["data_manifest"]["sources"].items() if source["non_commercial"]],
        "unvalidated": "sample" in scored.record["data_manifest"]["sources"],
        "rows": len(scored.rows),
        "heads": {head: scored.record["settings"]["heads"][head]["description"] for head in scored.heads},
        "gate": settings.gate,
        "verdict": measures.gate,
        "cells": measures.cells,
        "sources": measures.sources,
        "prevalence": settings.report.prevalence,
        "show_text": settings.report.show_text,
        "examples": worst_errors(scored, settings),
        "axis": fpr_axis(measures.cells),
        "encoder": scored.record["settings"]["encoder"]["name"],
    }
    with publish_folder(target) as folder:
        document = {key: context[key] for key in ("name", "kind", "mixture", "rows", "prevalence", "encoder", "heads")}
        document.update(measures.to_json(), gate_settings=settings.gate.name, baselines=beaten_baselines(measures.cells))
        write_json(folder / "metrics.json", document)
        write_text(folder / "per_language.csv", render_csv(measures.cells))
        write_text(folder / "report.md", _render("report.md.jinja", context))
        write_text(folder / "report.html", _render("report.html.jinja", context))
    return target


def fpr_axis(cells: list[Cell]) -> float:
    """Where the axis of false-positive rates ends: the next ten per cent above every evaluated interval."""
    highest = max((cell.figures.fpr.high or 0 for cell in cells if is_evaluated(cell)), default=0)
    return min(1.0, math.ceil(max(highest, 0.01) * 10) / 10)


def is_evaluated(cell: Cell) -> bool:
    """Whether the cell has the evidence that the gate asks for; without it the report shows no number."""
    return cell.verdict.tier != NOT_EVALUATED or not cell.verdict.passed


def beaten_baselines(cells: list[Cell]) -> dict[str, int]:
    """In how many evaluated cells the model's F1 is above both baselines', and in how many languages its mean over heads is."""
    evaluated = [cell for cell in cells if is_evaluated(cell) and cell.figures.f1 is not None]
    ahead: dict[str, float] = defaultdict(float)
    beaten = 0
    for cell in evaluated:
        margin = (cell.figures.f1 or 0) - max(cell.keyword_f1 or 0, cell.all_negative_f1 or 0)
        beaten += margin > 0
        ahead[cell.language] += margin
    return {
        "evaluated_cells": len(evaluated), "beaten_cells": beaten,
        "evaluated_languages": len(ahead), "beaten_languages": sum(margin > 0 for margin in ahead.values()),
    }  # fmt: skip


def render_csv(cells: list[Cell]) -> str:
    """One line per head and language; a cell that is not evaluated has counts, a reason and no figures."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        figures = cell.figures
        row: dict[str, Any] = {
            "head": cell.head, "language": cell.language, "sense": cell.sense, "tier": cell.verdict.tier, "reason": cell.verdict.reason,
            "n": figures.n, "positives": figures.positives, "prevalence": figures.prevalence, "threshold": cell.threshold,
        }  # fmt: skip
        if is_evaluated(cell):
            row.update(
                f1=figures.f1, auroc=figures.auroc, auprc=figures.auprc, keyword_f1=cell.keyword_f1,
                all_negative_f1=cell.all_negative_f1, precision_at_prevalence=cell.deployed_precision,
            )  # fmt: skip
            for name in ("precision", "recall", "fpr", "fnr"):
                rate: Rate = getattr(figures, name)
                row.update({name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high})
        writer.writerow({key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()})
    return buffer.getvalue()


def console_table(cells: list[Cell]) -> str:
    """The per-language table as it is printed at the end of an evaluation."""
    lines = [f"{'head':<24}{'language':<20}{'n':>6}{'pos':>6}{'F1':>7}{'keyword':>9}{'AUROC':>7}{'FPR':>8}  {'95% interval':<16}tier"]
    for cell in cells:
        figures = cell.figures
        start = f"{cell.head:<24}{language_name(cell.language):<20}{figures.n:>6}{figures.positives:>6}"
        if not is_evaluated(cell):
            lines.append(f"{start}  not evaluated: {cell.verdict.reason}")
            continue
        interval = f"{100 * (figures.fpr.low or 0):.1f}-{100 * (figures.fpr.high or 0):.1f}%"
        lines.append(
            f"{start}{_two(figures.f1):>7}{_two(cell.keyword_f1):>9}{_two(figures.auroc):>7}{percent(figures.fpr.value):>8}  "
            f"{interval:<16}{cell.verdict.tier}"
        )
    return "\n".join(lines)


def worst_errors(scored: Scored, settings: EvaluateSettings) -> list[dict[str, Any]]:
    """The most confident errors per head, at most one per language, texts masked unless the settings show them."""
    examples = []
    languages, texts = list(scored.rows["language"]), list(scored.rows["text"])
    for column, head in enumerate(scored.heads):
        truth = scored.labels[:, column]
        wrong = np.flatnonzero((truth != MASKED) & (scored.flagged[:, column] != (truth == 1)))
        confidence = np.abs(scored.probabilities[wrong, column] - (truth[wrong] == 1))
        seen: set[str] = set()
        for index in wrong[np.argsort(-confidence, kind="stable")]:
            if languages[index] in seen or len(seen) == settings.report.examples_per_head:
                continue
            seen.add(languages[index])
            examples.append(
                {
                    "head": head,
                    "language": languages[index],
                    "error": "missed" if truth[index] == 1 else "wrongly flagged",
                    "probability": float(scored.probabilities[index, column]),
                    "hard_negative": scored.rows[int(index)]["hard_negative"],
                    "text": texts[index][:400] if settings.report.show_text else mask_text(texts[index][:400]),
                }
            )
    return examples


def percent(value: float | None) -> str:
    """A rate as a percentage with one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}%"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _render(template: str, context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html", "html.jinja"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=percent, two=_two, language=language_name)
    environment.tests["evaluated"] = is_evaluated
    return environment.get_template(template).render(context)
