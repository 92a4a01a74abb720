"""The report's tables as CSV files that spreadsheets open as they are meant."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from pandas.api.types import is_string_dtype

from evaluate.escaping import spreadsheet_text, visible
from evaluate.measures import Cell, Group
from evaluate.metrics import Estimate, HeadFigures
from evaluate.names import OFFICIAL_EU

RATES = ("precision", "recall", "fpr", "fnr", "accuracy", "coverage", "selective_error")
OTHERS = ("f1", "auroc", "auprc", "ece", "brier")
PURPOSE = "to rank posts for human review by the question: "
SAFEGUARDS = (
    "no automatic removal: every flag goes to a person; a language that is not evaluated is never decided by the model, all its posts go "
    "to review; so do posts near the threshold"
)


def per_language_csv(cells: Sequence[Cell]) -> str:
    """One line per head and language; a cell without enough evidence has counts and a reason, and no figures."""
    lines = []
    for cell in cells:
        measured = cell.tier.measured
        line: dict[str, Any] = {
            "head": cell.head, "language": cell.language, "sense": cell.sense, "tier": cell.tier.name, "reason": cell.tier.reason,
            **counts(cell.figures), "threshold": cell.threshold, **figures_line(cell.figures, measured),
        }  # fmt: skip
        for name in ("subgroup_auc", "bpsn_auc", "bnsp_auc"):
            line |= _estimate(name, getattr(cell, name) if measured else Estimate(None))
        for name in ("keyword_f1", "all_negative_f1", "ngram_auroc", "deployed_precision"):
            line[name] = getattr(cell, name) if measured else None
        lines.append(line)
    return to_csv(pd.DataFrame(lines))


def groups_csv(groups: Sequence[Group], min_rows: int) -> str:
    """One line per head and group of rows (language, script, source, sense and all of them together), for analysis.

    Research figures: groups of fewer than `min_rows` rows have counts only.
    """
    lines = []
    for group in groups:
        keys = {name: value for name, value in asdict(group).items() if name != "figures"}
        lines.append({**keys, **counts(group.figures), **figures_line(group.figures, group.figures.n >= min_rows)})
    return to_csv(pd.DataFrame(lines))


def counts(figures: HeadFigures) -> dict[str, Any]:
    """How many rows, families, positives and negatives there are, and the share of positives."""
    return {name: getattr(figures, name) for name in ("n", "families", "positives", "negatives", "prevalence")}


def figures_line(figures: HeadFigures, shown: bool) -> dict[str, Any]:
    """Every figure with the ends of its interval; empty where it must not be shown."""
    line: dict[str, Any] = {}
    for name in (*OTHERS, *RATES):
        line |= _estimate(name, getattr(figures, name) if shown else Estimate(None))
    return line


def _estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def dsa_transparency_csv(cells: Sequence[Cell], heads: dict[str, str]) -> str:
    """Accuracy and possible rate of error of automated means, per official language of the EU and head.

    What Articles 15(1)(e) and 42(2)(c) of Regulation (EU) 2022/2065 ask a platform to publish: purpose, indicators of accuracy and
    error broken down by official language, safeguards. Figures are of test sets; a platform has to add those of its own use.
    """
    found = {(cell.head, cell.language): cell for cell in cells}
    lines = []
    for head, question in heads.items():
        for language, name in OFFICIAL_EU.items():
            cell = found.get((head, language))
            shown = cell is not None and cell.tier.measured
            figures = cell.figures if cell is not None and shown else None
            line: dict[str, Any] = {
                "official_language": name, "language_code": language, "automated_means": head, "purpose": PURPOSE + question,
                "evaluated": "yes" if shown else "no", "tier": cell.tier.name if cell else "not_evaluated",
                "test_rows": cell.figures.n if cell else 0,
            }  # fmt: skip
            rates = {"accuracy": "accuracy", "false_positive_rate": "fpr", "false_negative_rate": "fnr", "precision": "precision"}
            for column, rate in rates.items():
                line |= _estimate(column, getattr(figures, rate) if figures else Estimate(None))
            line["error_rate"] = None if figures is None or figures.accuracy.value is None else 1 - figures.accuracy.value
            line["safeguards"] = SAFEGUARDS
            lines.append(line)
    return to_csv(pd.DataFrame(lines))


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV: no cell is a formula, no character is invisible; it begins with a byte order mark for other scripts' sake."""
    texts = [str(name) for name in table if is_string_dtype(table[name])]
    safe = table.assign(**{name: table[name].map(lambda text: spreadsheet_text(visible(text)), na_action="ignore") for name in texts})
    return "\ufeff" + safe.round(6).to_csv(index=False, lineterminator="\n")
