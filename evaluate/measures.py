"""From scored rows to the figures of a report: per head and group of rows, between languages, against a previous release."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from evaluate.baselines import keyword_flags, learn_keywords, ngram_scores, plain_text, words
from evaluate.bootstrap import FIGURES, bootstrap_figures, interval, reflected_interval, subgroup_aucs
from evaluate.calibration import Reliability, Sweep, reliability, threshold_sweep
from evaluate.changes import Comparison, compare_releases, previous_predictions
from evaluate.fairness import Fairness, compare_languages
from evaluate.functional.suite import SuiteResult
from evaluate.gate import Evidence, Gate, HardNegatives, Tier, assign_tier, judge
from evaluate.metrics import Estimate, Floats, HeadFigures, Rate, clustered_rate, head_figures, precision_at_prevalence
from evaluate.parallel import Flips, count_flips
from evaluate.predictions import Scored
from evaluate.probes import Probes
from evaluate.settings import EvaluateSettings
from evaluate.variants import shipped_agreement
from train.labels import MASKED, label_matrix

MULTIPLE = "mul"  # ISO 639-2 for several languages at once: all of a source's
KEYS = ("language", "script", "source", "sense")
GROUPINGS = {
    "language": ("language",),
    "script": ("language", "script"),
    "source": ("language", "source", "sense"),
    "sense": ("language", "sense"),
    "all": KEYS,
}


@dataclass(frozen=True)
class Cell:
    """One head in one language: the model's figures, the baselines', the tier."""

    head: str
    language: str
    sense: str
    figures: HeadFigures
    threshold: float
    tier: Tier
    subgroup_auc: Estimate
    bpsn_auc: Estimate
    bnsp_auc: Estimate
    keyword_f1: float | None
    all_negative_f1: float | None
    ngram_auroc: float | None
    deployed_precision: float | None  # at the deployer's prevalence and the upper end of the FPR interval


@dataclass(frozen=True)
class Group:
    """One head on a group of rows: `by` says which of the keys define it, the others are empty."""

    head: str
    by: str  # a name of GROUPINGS
    language: str
    script: str
    source: str
    sense: str
    figures: HeadFigures


@dataclass(frozen=True)
class Measures:
    """Everything a report shows."""

    cells: list[Cell]
    groups: list[Group]
    fairness: list[Fairness]
    flips: list[Flips]
    hard_negatives: list[HardNegatives]
    reliability: list[Reliability]
    sweeps: list[Sweep]
    comparison: Comparison | None
    gate: Gate
    tiers: dict[str, dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        """As plain data, for `metrics.json`."""
        return asdict(self)


def measure(scored: Scored, settings: EvaluateSettings, probes: Probes | None = None) -> Measures:
    """Measure every head in every group of judged test rows, compare, and judge the release.

    Parameters
    ----------
    probes
        What the artifact answered beyond its test rows: the gate judges allowed speech and the int8 model with it.
    """
    frame = row_keys(scored)
    families = np.asarray(pd.factorize(frame["family"])[0], dtype=np.int64)
    languages = frame["language"].to_numpy(dtype=str)
    baselines = Baselines(scored)
    cells: list[Cell] = []
    groups: list[Group] = []
    fairness: list[Fairness] = []
    flips: list[Flips] = []
    for column, head in enumerate(scored.heads):
        rows = np.flatnonzero(scored.labels[:, column] != MASKED)
        if not len(rows):
            continue
        truth, flagged = scored.labels[rows, column], scored.flagged[rows, column]
        of_head = _HeadRows(
            probabilities=scored.probabilities[rows, column],
            truth=truth,
            flagged=flagged,
            decided=scored.decided[rows, column],
            families=np.unique(families[rows], return_inverse=True)[1],
        )
        keys = frame.iloc[rows].assign(sense=[sense[head] or "" for sense in frame["sense"].iloc[rows]])
        names, members = group_rows(keys)
        figures, draws = of_head.measure(members)
        found = [Group(head, *name, one) for name, one in zip(names, figures, strict=True)]
        groups += found
        by_language = {group.language: place for place, group in enumerate(found) if group.by == "language"}
        aucs = subgroup_aucs(of_head.probabilities, truth, of_head.families, {name: members[at] for name, at in by_language.items()})
        of_language: dict[str, Cell] = {}
        for language, place in tqdm(by_language.items(), desc=f"learning baselines of {head}", unit=" languages", disable=None):
            senses = set(keys["sense"].iloc[members[place]]) - {"", "neutral"}
            keyword_f1, all_negative_f1 = baselines.f1(column, language, rows[members[place]])
            one = figures[place]
            of_language[language] = Cell(
                head=head,
                language=language,
                sense=", ".join(sorted(senses)) or "neutral",
                figures=one,
                threshold=scored.policy.heads[head].threshold_of(language),
                tier=assign_tier(one, settings.gate),
                keyword_f1=keyword_f1,
                all_negative_f1=all_negative_f1,
                ngram_auroc=baselines.ngram_auroc(column, language, rows[members[place]]),
                deployed_precision=None
                if one.recall.value is None or one.fpr.high is None
                else precision_at_prevalence(one.fpr.high, one.recall.value, settings.report.prevalence),
                **aucs[language],
            )
        cells += of_language.values()
        measured = {language: cell.figures for language, cell in of_language.items() if cell.tier.measured}
        rate_draws = {language: (draws["fpr"][by_language[language]], draws["fnr"][by_language[language]]) for language in measured}
        fairness.append(compare_languages(head, truth, flagged, languages[rows], measured, rate_draws, settings.gate.reference))
        flips += count_flips(head, frame, scored.labels[:, column], scored.flagged[:, column], settings.gate.reference)
    hard_negatives = count_hard_negatives(scored, families, languages)
    if probes is not None:
        hard_negatives += [one for suite in probes.suites for one in suite_hard_negatives(suite)]
    comparison = _compare_with_previous(scored, settings, languages, families)
    evidence = Evidence(
        heads=scored.heads,
        figures={(cell.head, cell.language): cell.figures for cell in cells},
        tiers={(cell.head, cell.language): cell.tier for cell in cells},
        subgroups={(cell.head, cell.language): {"bpsn_auc": cell.bpsn_auc, "bnsp_auc": cell.bnsp_auc} for cell in cells},
        fairness=fairness,
        hard_negatives=hard_negatives,
        flips=flips,
        comparison=comparison,
        agreement=None if probes is None else shipped_agreement(probes.variants),
    )
    return Measures(
        cells=cells,
        groups=groups,
        fairness=fairness,
        flips=flips,
        hard_negatives=hard_negatives,
        reliability=reliability(scored),
        sweeps=threshold_sweep(scored, {(cell.head, cell.language) for cell in cells if cell.tier.measured}),
        comparison=comparison,
        gate=judge(evidence, settings.gate),
        tiers={head: {cell.language: cell.tier.name for cell in cells if cell.head == head} for head in scored.heads},
    )


@dataclass(frozen=True)
class _HeadRows:
    """The judged rows of one head; all arrays of shape (rows,)."""

    probabilities: Floats
    truth: npt.NDArray[np.int8]
    flagged: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]
    families: npt.NDArray[np.int64]

    def measure(self, groups: Sequence[npt.NDArray[np.int64]]) -> tuple[list[HeadFigures], dict[str, Floats]]:
        """Figures of groups of rows with all their intervals, and the bootstrap draws behind these."""
        draws = bootstrap_figures(self.probabilities, self.truth, self.flagged, self.families, groups)
        figures = []
        for place, rows in enumerate(groups):
            one = head_figures(self.probabilities[rows], self.truth[rows], self.flagged[rows], self.decided[rows], self.families[rows])
            smaller = {"auroc": min(one.positives, one.negatives), "auprc": one.positives, "f1": one.positives}
            intervals: dict[str, Any] = {
                name: reflected_interval(one.ece.value, draws[name][place])
                if name == "ece"
                else interval(getattr(one, name).value, draws[name][place], smaller.get(name, one.n))
                for name in FIGURES
            }
            figures.append(replace(one, **intervals))
        return figures, draws


def row_keys(scored: Scored) -> pd.DataFrame:
    """Per test row what it is grouped by: language, script, source, family, and the sense of each head."""
    return pd.DataFrame({name: scored.rows[name][:] for name in ("language", "script", "source", "family", "sense")})


def group_rows(keys: pd.DataFrame) -> tuple[list[tuple[str, str, str, str, str]], list[npt.NDArray[np.int64]]]:
    """The groups of every grouping, as (grouping, language, script, source, sense), and the row numbers of each.

    A source in several languages gets a group of all its rows too, with the language `MULTIPLE`.
    """
    names: list[tuple[str, str, str, str, str]] = []
    members: list[npt.NDArray[np.int64]] = []
    for grouping, columns in GROUPINGS.items():
        for values, rows in keys.groupby(list(columns), sort=True).indices.items():
            found = dict(zip(columns, values if isinstance(values, tuple) else (values,), strict=True))
            names.append((grouping, *(str(found.get(key, "")) for key in KEYS)))  # type: ignore[arg-type]
            members.append(np.asarray(rows, dtype=np.int64))
    for source, rows in keys.groupby("source", sort=True).indices.items():
        if keys["language"].iloc[rows].nunique() > 1:
            senses = ", ".join(sorted(set(keys["sense"].iloc[rows]))) or ""
            names.append(("source", MULTIPLE, "", str(source), senses))
            members.append(np.asarray(rows, dtype=np.int64))
    return names, members


def count_hard_negatives(scored: Scored, families: npt.NDArray[np.int64], languages: npt.NDArray[np.str_]) -> list[HardNegatives]:
    """Per head and kind of allowed speech (docs/taxonomy.md) the share of negatives not flagged: over all languages, and in each."""
    kinds = np.asarray([kind or "" for kind in scored.rows["hard_negative"][:]])
    found = []
    for column, head in enumerate(scored.heads):
        for kind in sorted(set(kinds.tolist()) - {""}):
            of_kind = (kinds == kind) & (scored.labels[:, column] == 0)
            for language in ("", *sorted(set(languages[of_kind].tolist()))) if of_kind.any() else ():
                rows = of_kind & ((languages == language) | (language == ""))
                found.append(HardNegatives(head, kind, clustered_rate(~scored.flagged[rows, column], families[rows]), language))
    return found


def suite_hard_negatives(suite: SuiteResult) -> list[HardNegatives]:
    """The same of a functional suite's cases, by language; intervals count cases, as `pass_rates` explains."""
    return [
        HardNegatives(
            head=str(row["head"]),
            kind=str(row["hard_negative"]),
            passed=Rate(row["rate"], row["low"], row["high"], int(row["passed"]), int(row["cases"]), float(row["cases"])),
            language=str(row["language"]),
            suite=suite.name,
            validated=bool(row["validated"]),
        )
        for row in suite.hard_negatives.to_dict("records")
    ]


def _compare_with_previous(
    scored: Scored, settings: EvaluateSettings, languages: npt.NDArray[np.str_], families: npt.NDArray[np.int64]
) -> Comparison | None:
    if settings.release is None:
        return None
    ids = scored.rows["id"][:]
    found = previous_predictions(Path(settings.releases_dir), settings.release, settings.previous, ids, scored.heads)
    if found is None:
        return None
    return compare_releases(
        *found,
        ids=ids,
        heads=scored.heads,
        labels=scored.labels,
        languages=languages,
        families=families,
        probabilities=scored.probabilities,
        flagged=scored.flagged,
        examples=settings.report.examples_per_head,
    )


class Baselines:
    """The baselines on a scored table; every post is normalised and its words are found once."""

    def __init__(self, scored: Scored) -> None:
        self.labels = scored.labels
        self.texts = np.asarray([plain_text(text) for text in scored.rows["text"][:]], dtype=object)
        self.words = np.asarray([words(text) for text in self.texts], dtype=object)
        self.train_labels = label_matrix(scored.train_rows, scored.heads)
        self.train_texts = np.asarray([plain_text(text) for text in scored.train_rows["text"][:]], dtype=object)
        self.train_words = np.asarray([words(text) for text in self.train_texts], dtype=object)
        self.train_languages = np.asarray(scored.train_rows["language"][:])

    def f1(self, column: int, language: str, rows: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
        """F1 of a keyword list learnt from the language's training rows, and of flagging nothing; None without positives."""
        truth = self.labels[rows, column]
        if not (truth == 1).any():
            return None, None
        train = self._train(column, language)
        keywords = learn_keywords(self.train_words[train].tolist(), self.train_labels[train, column])
        flags = keyword_flags(self.words[rows].tolist(), keywords)
        nothing = np.zeros(len(truth), dtype=bool)
        return head_figures(flags.astype(float), truth, flags).f1.value, head_figures(nothing.astype(float), truth, nothing).f1.value

    def ngram_auroc(self, column: int, language: str, rows: npt.NDArray[np.int64]) -> float | None:
        """AUROC of a plain model of characters learnt from the language's training rows; None unless both hold both classes."""
        truth = self.labels[rows, column]
        if len(np.unique(truth)) < 2:
            return None
        train = self._train(column, language)
        scores = ngram_scores(self.train_texts[train].tolist(), self.train_labels[train, column], self.texts[rows].tolist())
        return None if scores is None else float(roc_auc_score(truth, scores))

    def _train(self, column: int, language: str) -> npt.NDArray[np.int64]:
        return np.flatnonzero((self.train_languages == language) & (self.train_labels[:, column] != MASKED))
