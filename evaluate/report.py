"""The report folder: one page for people, the same in Markdown, JSON and CSV, a transparency table and a model card."""

import datetime
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, write_json, write_text
from data_prep.table import HARD_NEGATIVES
from evaluate.bootstrap import DRAWS
from evaluate.calibration import Sweep
from evaluate.changes import PREDICTIONS, prediction_table
from evaluate.escaping import visible, visible_strings
from evaluate.examples import changed_examples, error_examples
from evaluate.gate import FAIL, NOT_APPLICABLE, NOT_ENOUGH, PASS, Ruling
from evaluate.measures import Cell, Measures
from evaluate.metrics import precision_at_prevalence
from evaluate.model_card import PROHIBITED, model_card
from evaluate.names import CORE, language_name, place, spoken
from evaluate.predictions import Scored
from evaluate.probe_tables import gold_shares, probe_context, probe_csvs, probe_document
from evaluate.probes import Probes
from evaluate.rendering import axis_end, ends, percent, render_html, render_markdown, two
from evaluate.settings import EvaluateSettings
from evaluate.tables import dsa_transparency_csv, groups_csv, per_language_csv
from export.artifact import stamp_tiers
from train.policy import NOT_EVALUATED

MIN_GROUP_ROWS = 20  # a group of fewer rows shows counts only


def write_report(
    target: Path,
    scored: Scored,
    measures: Measures,
    settings: EvaluateSettings,
    probes: Probes | None = None,
    artifact: Path | None = None,
) -> Path:
    """Write the report folder atomically, and stamp its tiers into the artifact: if the disk is full, neither.

    Parameters
    ----------
    probes
        What the artifact answered beyond its test rows. Without them the page says that nobody asked.
    artifact
        The artifact's folder; None for a checkpoint, which keeps no tiers.
    """
    context = report_context(scored, measures, settings, probes)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        earlier = read_json(target / "metrics.json")
    except UserError:  # none there, or a damaged one, which this report replaces
        earlier = {}
    document = {key: context[key] for key in ("name", "kind", "mixture", "rows", "prevalence", "encoder", "heads", "not_evaluated")}
    document |= measures.to_json()
    document |= {
        "evaluated": now,
        "first_evaluated": earlier.get("first_evaluated", now),
        "gate_settings": settings.gate.name,
        "reasons": measures.gate.reasons,
        "key_figures": context["key"],
        "baselines": beaten_baselines(measures.cells),
        **probe_document(probes),
    }
    with publish_folder(target) as folder:
        write_json(folder / "metrics.json", visible_strings(document))
        write_text(folder / "per_language.csv", per_language_csv(measures.cells))
        write_text(folder / "groups.csv", groups_csv(measures.groups, MIN_GROUP_ROWS))
        write_text(folder / "dsa_transparency.csv", dsa_transparency_csv(measures.cells, context["heads"]))
        for name, table in probe_csvs(probes).items():
            write_text(folder / name, table)
        write_text(folder / "report.md", render_markdown("report.md.jinja", context))
        write_text(folder / "report.html", render_html("report.html.jinja", context))
        body = render_markdown("model_card.md.jinja", context)
        write_text(
            folder / "model_card.md", model_card(scored.name, context["mixture"], bool(context["non_commercial"]), measures.cells, body)
        )
        predictions = prediction_table(scored.rows["id"][:], scored.heads, scored.probabilities, scored.flagged)
        predictions.to_parquet(folder / PREDICTIONS, index=False)
        if artifact is not None:
            stamp_tiers(artifact, measures.tiers)  # after all that fills the disk; what is left is for the folder to take its place
    return target


def report_context(scored: Scored, measures: Measures, settings: EvaluateSettings, probes: Probes | None = None) -> dict[str, Any]:
    """What the templates show."""
    manifest = scored.record["data_manifest"]
    measured = [cell for cell in measures.cells if cell.tier.measured]
    comparison = measures.comparison
    return {
        "name": scored.name,
        "kind": scored.kind,
        "mixture": settings.mixture or manifest["mixture"],
        "non_commercial": [name for name, source in manifest["sources"].items() if source["non_commercial"]],
        "licences": {name: source["licence"] for name, source in manifest["sources"].items()},
        "unvalidated": "sample" in manifest["sources"],
        "rows": len(scored.rows),
        "seen": scored.seen,
        "heads": {head: scored.record["settings"]["heads"][head]["description"] for head in scored.heads},
        "encoder": scored.record["settings"]["encoder"]["name"],
        "gate": settings.gate,
        "verdict": measures.gate,
        "order": (FAIL, NOT_ENOUGH, PASS, NOT_APPLICABLE),
        "broken": [(ruling, broken_where(ruling)) for ruling in measures.gate.rulings if ruling.verdict in (FAIL, NOT_ENOUGH)],
        "key": key_figures(measures, probes),
        "measured": measured,
        "unmeasured": [cell for cell in measures.cells if not cell.tier.measured],
        "fairness_of": measures.fairness,
        "flips": measures.flips,
        "hard_negatives": [one for one in measures.hard_negatives if not one.language],  # over all languages, of test rows
        "reliability": measures.reliability,
        "sweeps": [(sweep, sweep_precision(sweep, settings.report.prevalence)) for sweep in measures.sweeps],
        "sweep_data": [
            {
                "shipped": round(sweep.shipped, 5),  # as the thresholds, among which the script looks for it
                **{name: [round(value, 5) for value in getattr(sweep, name)] for name in ("thresholds", "fpr_high", "recall")},
            }
            for sweep in measures.sweeps
        ],
        "draws": DRAWS,
        "prevalence_log": round(math.log10(settings.report.prevalence), 2),
        "bars": {(cell.head, cell.language): cell for cell in measured},
        "groups": [group for group in measures.groups if group.by in ("script", "source", "sense")],
        "min_group_rows": MIN_GROUP_ROWS,
        "comparison": comparison,
        "newly": changed_examples(scored, comparison, settings.report.show_text),
        **probe_context(probes, measures.tiers),
        "perturbed_rows": settings.probes.perturbed_rows,
        "prevalence": settings.report.prevalence,
        "show_text": settings.report.show_text,
        "examples": error_examples(
            scored, {} if probes is None else probes.explanations, settings.report.show_text, settings.report.examples_per_head
        ),
        "not_evaluated": not_evaluated(scored, measures, probes),
        "prohibited": PROHIBITED,
        "flips_axis": axis_end(one.flips.high for one in measures.flips),
        "fpr_axis": axis_end(cell.figures.fpr.high for cell in measured),
        "fnr_axis": axis_end(cell.figures.fnr.high for cell in measured),
        "gap_axis": axis_end(
            abs(end or 0) for fairness in measures.fairness for gap in fairness.gaps for end in (gap.gap.low, gap.gap.high)
        ),
    }


def sweep_precision(sweep: Sweep, prevalence: float) -> list[float]:
    """The precision at every threshold of a sweep in a stream with this share of positives, at the upper end of the FPR's interval."""
    return [precision_at_prevalence(fpr, recall, prevalence) or 0.0 for fpr, recall in zip(sweep.fpr_high, sweep.recall, strict=True)]


def key_figures(measures: Measures, probes: Probes | None = None) -> dict[str, Any]:
    """The few figures that a release is known by, for the top of the page and for the list of releases; None where there is none."""
    measured = [cell for cell in measures.cells if cell.tier.measured]
    gaps = [gap for fairness in measures.fairness for gap in fairness.gaps if gap.kind == "reference" and gap.measure == "fpr"]
    worst = max(measured, key=lambda cell: cell.figures.fpr.value or 0, default=None)
    widest = max(gaps, key=lambda gap: gap.gap.value or 0, default=None)
    flips = max(measures.flips, key=lambda one: one.flips.value or 0, default=None)
    auprcs = [cell.figures.auprc.value for cell in measured if cell.figures.auprc.value is not None]
    deployed = [cell.deployed_precision for cell in measured if cell.deployed_precision is not None]
    verdicts = [ruling.verdict for ruling in measures.gate.rulings]
    return {
        "languages": len({cell.language for cell in measures.cells}),
        "claimed": {
            head: sorted(language for language, tier in tiers.items() if tier != NOT_EVALUATED) for head, tiers in measures.tiers.items()
        },
        "measured_cells": len(measured),
        "worst_fpr": None if worst is None else worst.figures.fpr.value,
        "worst_fpr_where": None if worst is None else {"head": worst.head, "language": worst.language},
        "widest_fpr_gap": None if widest is None else widest.gap.value,
        "widest_fpr_gap_where": None if widest is None else {"head": widest.head, "language": widest.language, "other": widest.other},
        "most_flips": None if flips is None else flips.flips.value,
        "most_flips_where": None if flips is None else {"head": flips.head, "language": flips.language, "other": flips.reference},
        "macro_auprc": float(np.mean(auprcs)) if auprcs else None,
        "suite_pass_rates": {} if probes is None else {suite.name: gold_shares(suite) for suite in probes.suites},
        "deployed_precision": [min(deployed), max(deployed)] if deployed else None,
        "verdicts": {verdict: verdicts.count(verdict) for verdict in (PASS, FAIL, NOT_ENOUGH, NOT_APPLICABLE)},
    }


def broken_where(ruling: Ruling) -> str:
    """Where a rule has its verdict, on one line: per head the languages or kinds of text, the kinds of one language together.

    >>> from evaluate.gate import Finding
    >>> found = [Finding("a_b", "Urdu", FAIL, "", kind="news"), Finding("a_b", "Urdu", FAIL, "", kind="quote")]
    >>> broken_where(Ruling("", "", "", "", FAIL, [*found, Finding("a_b", "Hindi", PASS, ""), Finding("a_b", "Pashto", FAIL, "")]))
    'a b in Urdu (news, quote), Pashto'
    """
    places: dict[str, dict[str, list[str]]] = {}
    for finding in ruling.findings:
        if finding.verdict == ruling.verdict:
            places.setdefault(spoken(finding.head), {}).setdefault(finding.language, []).append(finding.kind)
    said = {head: ", ".join(filter(None, map(place, of_head, of_head.values()))) for head, of_head in places.items()}
    return "; ".join(" in ".join(filter(None, pair)) for pair in said.items())


def not_evaluated(scored: Scored, measures: Measures, probes: Probes | None) -> list[str]:
    """What nobody may conclude from this report, in sentences."""
    missing = []
    for head, tiers in measures.tiers.items():
        absent = [language_name(language) for language in CORE if language not in tiers]
        if absent:
            missing.append(f"{spoken(head).capitalize()} in {', '.join(absent)}: there is no test row.")
        few = [language_name(cell.language) for cell in measures.cells if cell.head == head and not cell.tier.measured]
        if few:
            missing.append(f"{spoken(head).capitalize()} in {', '.join(few)}: there are too few test rows; the artifact abstains.")
    kinds = {one.kind for one in measures.hard_negatives if not one.suite}
    absent_kinds = [name for kind, name in HARD_NEGATIVES.items() if kind not in kinds]
    if absent_kinds:
        missing.append(f"Allowed speech that is often mistaken: no test row is marked as {', '.join(absent_kinds)}.")
    senses = {sense for group in measures.groups for sense in group.sense.split(", ")}
    if "violent_entity" not in senses:
        missing.append("Propaganda for a violent entity: every judged row has another sense of the word.")
    if probes is None:
        missing.append("Functional tests, exchanged terms, edited posts, explanations: only a release is asked for them, no checkpoint.")
    else:
        missing += _not_probed(measures, probes)
    if measures.comparison is None:
        missing.append("Change against a previous release: there is none on these test rows.")
    missing += [
        "Posts with images, video or sound: only text was read.",
        "Evasion by people who know the model: it was only asked about edits that anyone makes.",
        "Posts of another time, platform or community than the test rows': all figures hold for rows like these only.",
    ]
    return missing


def _not_probed(measures: Measures, probes: Probes) -> list[str]:
    tested = {language for suite in probes.suites for language in suite.cases["language"]}
    without = sorted({language_name(cell.language) for cell in measures.cells if cell.tier.measured and cell.language not in tested})
    unsigned = sorted({language_name(language) for suite in probes.suites for language in suite.unvalidated})
    sentences = [f"Functional suite {name}: none of its cases is for a head of this model." for name in probes.without_cases]
    if without:
        sentences.append(f"Functional tests (one skill of telling speech apart at a time) in {', '.join(without)}: there is no case.")
    if unsigned:
        sentences.append(f"Functional tests as native speakers would write them: none has validated those in {', '.join(unsigned)}.")
    return sentences


def beaten_baselines(cells: Sequence[Cell]) -> dict[str, int]:
    """In how many measured cells the model is above its baselines, and in how many languages as a mean over heads.

    F1 is compared with flagging nothing and the keyword list, AUROC with the plain model of characters.
    """
    measured = [cell for cell in cells if cell.tier.measured and cell.figures.f1.value is not None]
    ahead: dict[str, float] = defaultdict(float)
    beaten = 0
    for cell in measured:
        margin = (cell.figures.f1.value or 0) - max(cell.keyword_f1 or 0, cell.all_negative_f1 or 0)
        beaten += margin > 0
        ahead[cell.language] += margin
    aurocs = [(cell.figures.auroc.value or 0, cell.ngram_auroc) for cell in measured if cell.ngram_auroc is not None]
    return {
        "evaluated_cells": len(measured), "beaten_cells": beaten,
        "evaluated_languages": len(ahead), "beaten_languages": sum(margin > 0 for margin in ahead.values()),
        "ranked_cells": len(aurocs), "better_ranked_cells": sum(model > ngram for model, ngram in aurocs),
    }  # fmt: skip


def console_table(cells: Sequence[Cell]) -> str:
    """The per-language table as it is printed at the end of an evaluation."""
    columns = f"{'head':<24}{'language':<20}{'n':>6}{'pos':>6}{'F1':>7}{'keyword':>9}{'AUROC':>7}{'n-gram':>8}{'FPR':>8}"
    lines = [f"{columns}  {'95% interval':<16}tier"]
    for cell in cells:
        figures = cell.figures
        start = f"{cell.head:<24}{visible(language_name(cell.language)):<20}{figures.n:>6}{figures.positives:>6}"
        if not cell.tier.measured:
            lines.append(f"{start}  not evaluated: {cell.tier.reason}")
            continue
        lines.append(
            f"{start}{two(figures.f1):>7}{two(cell.keyword_f1):>9}{two(figures.auroc):>7}{two(cell.ngram_auroc):>8}"
            f"{percent(figures.fpr):>8}  {ends(figures.fpr):<16}{cell.tier.name}"
        )
    return "\n".join(lines)
