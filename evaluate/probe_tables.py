"""What an artifact answered beyond its test rows, as the page shows it and as tables for spreadsheets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from evaluate.functional.suite import SuiteResult
from evaluate.metrics import Estimate
from evaluate.names import language_name
from evaluate.probes import Probes
from evaluate.rendering import axis_end
from evaluate.robustness import ALL, Perturbed
from evaluate.tables import to_csv
from train.policy import NOT_EVALUATED

FEW_CASES = 40  # a cell of fewer cases is marked
MOST_TERMS = 12  # of a page; terms.csv has all
FLIP_STEPS = (0.02, 0.05, 0.1, 0.2)  # where the next colour of the map of flips begins


def probe_context(probes: Probes | None, tiers: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the templates show of the probes; nothing of a checkpoint."""
    if probes is None:
        return {"suites": [], "terms": [], "robustness": {}, "variants": []}
    answered = {language for of_head in tiers.values() for language, tier in of_head.items() if tier != NOT_EVALUATED}
    terms = strongest_terms(probes.terms)
    return {
        "suites": [heat_map(suite, answered) for suite in probes.suites],
        "few_cases": FEW_CASES,
        "terms": terms,
        "terms_unvalidated": probes.unvalidated_terms,
        "terms_axis": max((abs(end or 0) for term in terms for end in (term["shift"].low, term["shift"].high)), default=1.0),
        "robustness": robustness_tables(probes.robustness),
        "variants": probes.variants,
    }


def heat_map(suite: SuiteResult, answered: Collection[str]) -> dict[str, Any]:
    """A suite's pass rates as rows of functionalities, allowed speech first and the worst of it on top, and columns of languages.

    Parameters
    ----------
    answered
        Languages that reach a tier in some head; in the others the artifact abstains, and its raw scores are shown.
    """
    rates = suite.pass_rates
    cells = {(str(row["functionality"]), str(row["language"])): row for row in rates.to_dict("records")}
    languages = sorted({language for _, language in cells}, key=language_name)
    unvalidated = suite.unvalidated
    groups = []
    for gold, of_gold in rates.groupby("gold"):  # allowed comes first
        sums = of_gold.groupby("functionality")[["passed", "cases"]].sum()
        shares = (sums["passed"] / sums["cases"]).sort_values(kind="stable")
        rows = [(str(name), float(share), [cells.get((str(name), language)) for language in languages]) for name, share in shares.items()]
        groups.append((str(gold), _share(of_gold), rows))
    return {
        "name": suite.name,
        "cases": len(suite.cases),
        "languages": [(language, language not in unvalidated, language in answered) for language in languages],
        "unvalidated": sorted(map(language_name, unvalidated)),
        "groups": groups,
        "by_language": [_share(rates[rates["language"] == language]) for language in languages],
    }


def gold_shares(suite: SuiteResult) -> dict[str, float]:
    """The share of a suite's cases that pass, of allowed speech and of speech to flag."""
    return {str(gold): _share(of_gold) for gold, of_gold in suite.pass_rates.groupby("gold")}


def _share(rates: pd.DataFrame) -> float:
    return float(rates["passed"].sum() / rates["cases"].sum())


def strongest_terms(shifts: pd.DataFrame) -> list[dict[str, Any]]:
    """The terms that move scores most of those whose interval leaves out 0."""
    apart = shifts[(shifts["low"] > 0) | (shifts["high"] < 0)]
    strongest = apart.reindex(apart["shift"].abs().sort_values(ascending=False, kind="stable").index)[:MOST_TERMS]
    records = [{str(name): value for name, value in row.items()} for row in strongest.to_dict("records")]
    return [row | {"shift": Estimate(row["shift"], row["low"], row["high"])} for row in records]


def robustness_tables(found: Sequence[Perturbed]) -> dict[str, dict[str, Any]]:
    """Per head: flips and losses by edit over all languages, by language over all edits, and the map of flips of both."""
    tables: dict[str, dict[str, Any]] = {}
    for head in dict.fromkeys(one.head for one in found):
        cells = {(one.edit, one.language): one for one in found if one.head == head}
        languages = sorted({language for _, language in cells if language != ALL}, key=language_name)
        names = list(dict.fromkeys(edit for edit, _ in cells if edit != ALL))
        both = [cells[ALL, ALL], *(cells[name, ALL] for name in names), *(cells[ALL, language] for language in languages)]
        tables[head] = {
            "all": cells[ALL, ALL],
            "edits": [cells[name, ALL] for name in names],
            "languages": sorted((cells[ALL, language] for language in languages), key=lambda one: -(one.flips.value or 0)),
            "map": [(name, [_coloured(cells.get((name, language))) for language in languages]) for name in names],
            "map_languages": languages,
            "flips_axis": axis_end(one.flips.high for one in both),
            "change_axis": axis_end(
                abs(end or 0) for one in both for change in (one.recall_loss, one.fpr_rise) for end in (change.low, change.high)
            ),
        }
    return tables


def _coloured(cell: Perturbed | None) -> tuple[Perturbed, int] | None:
    """The cell with its step of the heat map's colours, 4 the best."""
    return None if cell is None else (cell, 4 - sum((cell.flips.value or 0) > step for step in FLIP_STEPS))


def probe_document(probes: Probes | None) -> dict[str, Any]:
    """The probes for `metrics.json`."""
    if probes is None:
        return {"functional": None, "terms": None, "robustness": None, "variants": None}
    return {
        "functional": [
            {
                "suite": suite.name,
                "cases": len(suite.cases),
                "unvalidated": suite.unvalidated,
                "pass_rates": suite.pass_rates.drop(columns="abstains").to_dict("records"),
                "hard_negatives": suite.hard_negatives.drop(columns="abstains").to_dict("records"),
            }
            for suite in probes.suites
        ],
        "terms": probes.terms.to_dict("records"),
        "robustness": [asdict(one) for one in probes.robustness],
        "variants": [asdict(variant) for variant in probes.variants],
    }


def probe_csvs(probes: Probes | None) -> dict[str, str]:
    """File name -> CSV; none of a checkpoint."""
    if probes is None:
        return {}
    rates = [suite.pass_rates.drop(columns="abstains").assign(suite=suite.name) for suite in probes.suites]
    lines = []
    for one in probes.robustness:
        line: dict[str, Any] = {"head": one.head, "edit": one.edit or "all", "language": one.language or "all", "rows": one.rows}
        for name in ("flips", "recall_loss", "fpr_rise"):
            figure: Estimate = getattr(one, name)
            line |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        lines.append(line | {"positives": one.positives, "negatives": one.negatives})
    return {
        "functional.csv": to_csv(pd.concat(rates) if rates else pd.DataFrame()),
        "terms.csv": to_csv(probes.terms),
        "robustness.csv": to_csv(pd.DataFrame(lines)),
    }
