"""The report folder: one page for people, the same in Markdown, JSON and CSV, a transparency table and a model card."""

import base64
import datetime
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, write_json, write_text
from data_prep.inspect import mask_text
from data_prep.table import HARD_NEGATIVES
from evaluate.bootstrap import DRAWS
from evaluate.calibration import Sweep
from evaluate.changes import PREDICTIONS, prediction_table
from evaluate.escaping import excerpt, markdown_text, visible
from evaluate.gate import FAIL, NOT_APPLICABLE, NOT_ENOUGH, PASS, Ruling, kind_name, p_value, spoken
from evaluate.languages import CORE, language_name
from evaluate.measures import Cell, Measures
from evaluate.metrics import Estimate, precision_at_prevalence
from evaluate.model_card import PROHIBITED, model_card
from evaluate.predictions import Scored
from evaluate.settings import EvaluateSettings
from evaluate.tables import dsa_transparency_csv, groups_csv, per_language_csv
from train.loss import MASKED
from train.policy import NOT_EVALUATED

MIN_GROUP_ROWS = 20  # a group of fewer rows shows counts only


def write_report(
    target: Path, scored: Scored, measures: Measures, settings: EvaluateSettings, functional: pd.DataFrame | None = None
) -> Path:
    """Write the report folder atomically.

    Parameters
    ----------
    functional
        Results of a functional suite, one line per functionality and language with `functionality`, `language`, `cases`, `passed`,
        `low` and `high` (interval of the pass rate). Without it the page says that none was run.
    """
    context = report_context(scored, measures, settings, functional)
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
        "functional": None if functional is None else functional.to_dict("records"),
    }
    with publish_folder(target) as folder:
        write_json(folder / "metrics.json", _visible_strings(document))
        write_text(folder / "per_language.csv", per_language_csv(measures.cells))
        write_text(folder / "groups.csv", groups_csv(measures.groups, MIN_GROUP_ROWS))
        write_text(folder / "dsa_transparency.csv", dsa_transparency_csv(measures.cells, context["heads"]))
        write_text(folder / "report.md", render_markdown("report.md.jinja", context))
        write_text(folder / "report.html", render_html("report.html.jinja", context))
        body = render_markdown("model_card.md.jinja", context)
        write_text(
            folder / "model_card.md", model_card(scored.name, context["mixture"], bool(context["non_commercial"]), measures.cells, body)
        )
        table = prediction_table(scored.rows["id"][:], scored.heads, scored.probabilities, scored.flagged)
        table.to_parquet(folder / PREDICTIONS, index=False)
    return target


def _visible_strings(value: Any) -> Any:
    """Plain data with every string in it, keys too, as `visible` writes it: names of sources and languages come from outside."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _visible_strings(inner) for key, inner in value.items()}
    return [_visible_strings(inner) for inner in value] if isinstance(value, list | tuple) else value


def report_context(
    scored: Scored, measures: Measures, settings: EvaluateSettings, functional: pd.DataFrame | None = None
) -> dict[str, Any]:
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
        "heads": {head: scored.record["settings"]["heads"][head]["description"] for head in scored.heads},
        "encoder": scored.record["settings"]["encoder"]["name"],
        "gate": settings.gate,
        "verdict": measures.gate,
        "order": (FAIL, NOT_ENOUGH, PASS, NOT_APPLICABLE),
        "broken": [(ruling, broken_where(ruling)) for ruling in measures.gate.rulings if ruling.verdict in (FAIL, NOT_ENOUGH)],
        "key": key_figures(measures),
        "measured": measured,
        "unmeasured": [cell for cell in measures.cells if not cell.tier.measured],
        "fairness_of": measures.fairness,
        "flips": measures.flips,
        "hard_negatives": measures.hard_negatives,
        "reliability": measures.reliability,
        "sweeps": [(sweep, sweep_precision(sweep, settings.report.prevalence)) for sweep in measures.sweeps],
        "sweep_data": [
            {
                "shipped": round(sweep.shipped, 5),  # as the thresholds, among which the script looks for it
                **{name: [round(value, 5) for value in getattr(sweep, name)] for name in ("thresholds", "fpr", "recall")},
            }
            for sweep in measures.sweeps
        ],
        "precision": precision_at_prevalence,
        "draws": DRAWS,
        "prevalence_log": round(math.log10(settings.report.prevalence), 2),
        "bars": {(cell.head, cell.language): cell for cell in measured},
        "groups": [group for group in measures.groups if group.by in ("script", "source", "sense")],
        "min_group_rows": MIN_GROUP_ROWS,
        "comparison": comparison,
        "newly": [] if comparison is None else changed_examples(scored, comparison.newly_wrong, comparison.newly_right, settings),
        "functional": None if functional is None else heat_map(functional),
        "prevalence": settings.report.prevalence,
        "show_text": settings.report.show_text,
        "examples": worst_errors(scored, settings),
        "not_evaluated": not_evaluated(scored, measures, functional),
        "prohibited": PROHIBITED,
        "flips_axis": axis_end(one.flips.high for one in measures.flips),
        "fpr_axis": axis_end(cell.figures.fpr.high for cell in measured),
        "fnr_axis": axis_end(cell.figures.fnr.high for cell in measured),
        "gap_axis": axis_end(
            abs(end or 0) for fairness in measures.fairness for gap in fairness.gaps for end in (gap.gap.low, gap.gap.high)
        ),
    }


def axis_end(ends: Iterable[float | None]) -> float:
    """Where an axis of shares ends: the next ten per cent above every interval.

    >>> axis_end([0.03, None]), axis_end([0.31]), axis_end([0.97])
    (0.1, 0.4, 1.0)
    """
    highest = max((end or 0 for end in ends), default=0)
    return min(1.0, math.ceil(max(highest, 0.01) * 10) / 10)


def sweep_precision(sweep: Sweep, prevalence: float) -> tuple[list[float], list[float]]:
    """Where something is flagged, the thresholds of a sweep and the precision there in a stream with this share of positives."""
    points = [
        (threshold, precision_at_prevalence(fpr, recall, prevalence))
        for threshold, fpr, recall in zip(sweep.thresholds, sweep.fpr, sweep.recall, strict=True)
    ]
    defined = [(threshold, precision) for threshold, precision in points if precision is not None]
    return [threshold for threshold, _ in defined], [precision for _, precision in defined]


def key_figures(measures: Measures) -> dict[str, Any]:
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
        "deployed_precision": [min(deployed), max(deployed)] if deployed else None,
        "verdicts": {verdict: verdicts.count(verdict) for verdict in (PASS, FAIL, NOT_ENOUGH, NOT_APPLICABLE)},
    }


def broken_where(ruling: Ruling) -> str:
    """Where a rule has its verdict, on one line: per head the languages or kinds of text.

    >>> from evaluate.gate import Finding
    >>> found = [Finding("a_b", "Urdu", FAIL, ""), Finding("a_b", "Pashto", FAIL, ""), Finding("a_b", "Hindi", PASS, "")]
    >>> broken_where(Ruling("", "", "", "", FAIL, found))
    'a b in Urdu, Pashto'
    """
    places: dict[str, list[str]] = {}
    for finding in ruling.findings:
        if finding.verdict == ruling.verdict:
            places.setdefault(spoken(finding.head), []).append(finding.where)
    return "; ".join(" in ".join(filter(None, (head, ", ".join(filter(None, where))))) for head, where in places.items())


def not_evaluated(scored: Scored, measures: Measures, functional: pd.DataFrame | None) -> list[str]:
    """What nobody may conclude from this report, in sentences."""
    missing = []
    for head, tiers in measures.tiers.items():
        absent = [language_name(language) for language in CORE if language not in tiers]
        if absent:
            missing.append(f"{spoken(head).capitalize()} in {', '.join(absent)}: there is no test row.")
        few = [language_name(cell.language) for cell in measures.cells if cell.head == head and not cell.tier.measured]
        if few:
            missing.append(f"{spoken(head).capitalize()} in {', '.join(few)}: there are too few test rows; the artifact abstains.")
    kinds = {one.kind for one in measures.hard_negatives}
    absent_kinds = [kind_name(kind) for kind in HARD_NEGATIVES if kind not in kinds]
    if absent_kinds:
        missing.append(f"Allowed speech that is often mistaken: no test row is marked as {', '.join(absent_kinds)}.")
    senses = {sense for group in measures.groups for sense in group.sense.split(", ")}
    if "violent_entity" not in senses:
        missing.append("Propaganda for a violent entity: every judged row has another sense of the word.")
    if functional is None:
        missing.append("Functional tests (one skill of telling speech apart at a time): none were run.")
    if measures.comparison is None:
        missing.append("Change against a previous release: there is none on these test rows.")
    missing += [
        "Posts with images, video or sound: only text was read.",
        "Deliberate evasion, terms of identity inside fixed sentences, and explanations of single decisions.",
        "Posts of another time, platform or community than the test rows': all figures hold for rows like these only.",
    ]
    return missing


def heat_map(functional: pd.DataFrame) -> dict[str, Any]:
    """The functional results as rows of functionalities, worst first, and columns of languages; a missing cell is None."""
    cells = {(str(row["functionality"]), str(row["language"])): row for row in functional.to_dict("records")}
    rates = functional.groupby("functionality")[["passed", "cases"]].sum()
    order = (rates["passed"] / rates["cases"]).sort_values(kind="stable")
    languages = sorted({language for _, language in cells}, key=language_name)
    return {
        "languages": languages,
        "rows": [(str(name), float(rate), [cells.get((str(name), language)) for language in languages]) for name, rate in order.items()],
    }


def beaten_baselines(cells: Sequence[Cell]) -> dict[str, int]:
    """In how many measured cells the model's F1 is above both baselines', and in how many languages its mean over heads is."""
    measured = [cell for cell in cells if cell.tier.measured and cell.figures.f1.value is not None]
    ahead: dict[str, float] = defaultdict(float)
    beaten = 0
    for cell in measured:
        margin = (cell.figures.f1.value or 0) - max(cell.keyword_f1 or 0, cell.all_negative_f1 or 0)
        beaten += margin > 0
        ahead[cell.language] += margin
    return {
        "evaluated_cells": len(measured), "beaten_cells": beaten,
        "evaluated_languages": len(ahead), "beaten_languages": sum(margin > 0 for margin in ahead.values()),
    }  # fmt: skip


def console_table(cells: Sequence[Cell]) -> str:
    """The per-language table as it is printed at the end of an evaluation."""
    lines = [f"{'head':<24}{'language':<20}{'n':>6}{'pos':>6}{'F1':>7}{'keyword':>9}{'AUROC':>7}{'FPR':>8}  {'95% interval':<16}tier"]
    for cell in cells:
        figures = cell.figures
        start = f"{cell.head:<24}{visible(language_name(cell.language)):<20}{figures.n:>6}{figures.positives:>6}"
        if not cell.tier.measured:
            lines.append(f"{start}  not evaluated: {cell.tier.reason}")
            continue
        lines.append(
            f"{start}{_two(figures.f1):>7}{_two(cell.keyword_f1):>9}{_two(figures.auroc):>7}{percent(figures.fpr):>8}  "
            f"{ends(figures.fpr):<16}{cell.tier.name}"
        )
    return "\n".join(lines)


def worst_errors(scored: Scored, settings: EvaluateSettings) -> list[dict[str, Any]]:
    """The most confident errors per head, at most one per language, texts masked unless the settings show them."""
    examples = []
    languages = np.asarray(scored.rows["language"][:])
    for column in range(len(scored.heads)):
        truth = scored.labels[:, column]
        wrong = np.flatnonzero((truth != MASKED) & (scored.flagged[:, column] != (truth == 1)))
        confidence = np.abs(scored.probabilities[wrong, column] - (truth[wrong] == 1))
        worst_first = wrong[np.argsort(-confidence, kind="stable")]
        _, first = np.unique(languages[worst_first], return_index=True)  # the worst of each language
        for row in worst_first[np.sort(first)][: settings.report.examples_per_head]:
            error = "missed" if truth[row] == 1 else "wrongly flagged"
            examples.append(_example(scored, int(row), column, error, settings))
    return examples


def changed_examples(
    scored: Scored, newly_wrong: dict[str, list[int]], newly_right: dict[str, list[int]], settings: EvaluateSettings
) -> list[dict[str, Any]]:
    """Rows whose decision is newly wrong or newly right, for the page, texts masked unless the settings show them."""
    return [
        _example(scored, row, scored.heads.index(head), change, settings)
        for change, of_head in (("newly wrong", newly_wrong), ("newly right", newly_right))
        for head, rows in of_head.items()
        for row in rows
    ]


def _example(scored: Scored, row: int, column: int, what: str, settings: EvaluateSettings) -> dict[str, Any]:
    post = scored.rows[row]
    return {
        "head": scored.heads[column],
        "language": post["language"],
        "what": what,
        "probability": float(scored.probabilities[row, column]),
        "hard_negative": post["hard_negative"],
        "text": excerpt(post["text"]) if settings.report.show_text else excerpt(mask_text(post["text"][:1000])),
    }


def percent(value: Estimate | float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none.

    >>> percent(0.0123), percent(None)
    ('1.2%', '–')
    """
    number = value.value if isinstance(value, Estimate) else value
    return "–" if number is None else f"{100 * number:.1f}%".replace("-", "−")


def ends(estimate: Estimate) -> str:
    """The ends of a share's interval.

    >>> ends(Estimate(0.1, 0.05, 0.2)), ends(Estimate(-0.1, -0.2, 0.05))
    ('5.0–20.0%', '−20.0 to 5.0%')
    """
    if estimate.low is None or estimate.high is None:
        return "–"
    words = f"{100 * estimate.low:.1f}{' to ' if estimate.low < 0 else '–'}{100 * estimate.high:.1f}%"
    return words.replace("-", "−")


def _two(value: Estimate | float | None) -> str:
    number = value.value if isinstance(value, Estimate) else value
    return "–" if number is None else f"{number:.2f}"


def _two_ends(estimate: Estimate) -> str:
    return "–" if estimate.low is None or estimate.high is None else f"{estimate.low:.2f}–{estimate.high:.2f}"


def _share(value: float | None) -> str:
    """A small share in full: 0.001 is 0.1%, 0.00025 is 0.025%."""
    return "–" if value is None else f"{100 * value:.3g}%"


def _points(values: Sequence[float], over: Sequence[float], width: float, height: float) -> str:
    """The points of a polyline in a box whose origin is its lower left corner."""
    return " ".join(f"{width * x:.1f},{height * (1 - y):.1f}" for x, y in zip(over, values, strict=True))


def render_html(template: str, context: dict[str, Any]) -> str:
    """A template as one self-contained page: its style and its script are inside, and its policy lets nothing else in."""
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    page = {"style": Markup(style), "script": Markup(script), "script_hash": digest}
    return _environment(markdown=False).get_template(template).render(page | context)


def render_markdown(template: str, context: dict[str, Any]) -> str:
    """A template as Markdown in which every value is text and nothing else."""
    return _environment(markdown=True).get_template(template).render(context)


_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment(markdown: bool) -> jinja2.Environment:
    def finalize(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return markdown_text(value) if markdown else visible(value)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=not markdown,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=percent, ends=ends, two=_two, two_ends=_two_ends, share=_share, language=language_name, spoken=spoken, kind=kind_name,
        p=p_value, points=_points, number=lambda value: f"{value:,}",
    )  # fmt: skip
    return environment
