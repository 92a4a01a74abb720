"""From scored rows to the figures of a report: per head and language, per source, beside the baselines, with a verdict."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.baselines import keyword_flags, learn_keywords, words
from evaluate.gate import Gate, Verdict, assign_tier, judge
from evaluate.metrics import HeadFigures, head_figures, precision_at_prevalence
from evaluate.predictions import Scored
from evaluate.settings import EvaluateSettings
from train.loss import MASKED
from train.tokenised import label_matrix

MULTIPLE = "mul"  # ISO 639-2 for several languages at once: all of a source's


@dataclass(frozen=True)
class Cell:
    """One head in one language: the model's figures, the baselines' F1, the verdict."""

    head: str
    language: str
    sense: str
    figures: HeadFigures
    threshold: float
    verdict: Verdict
    keyword_f1: float | None
    all_negative_f1: float | None
    deployed_precision: float | None  # at the deployer's prevalence and the upper end of the FPR interval


@dataclass(frozen=True)
class SourceCell:
    """One head on one source in one language; published figures are compared with these."""

    head: str
    source: str
    language: str
    sense: str
    figures: HeadFigures


@dataclass(frozen=True)
class Measures:
    """Everything a report shows."""

    cells: list[Cell]
    sources: list[SourceCell]
    gate: Gate
    tiers: dict[str, dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        """As plain data, for `metrics.json`."""
        return asdict(self)


def measure(scored: Scored, settings: EvaluateSettings) -> Measures:
    """Measure every head in every language and every source that has judged test rows."""
    languages = np.asarray(scored.rows["language"])
    sources = np.asarray(scored.rows["source"])
    senses = list(scored.rows["sense"])
    baselines = KeywordBaseline(scored)
    cells: list[Cell] = []
    source_cells: list[SourceCell] = []
    for column, head in enumerate(scored.heads):
        judged = scored.labels[:, column] != MASKED
        sense_of = np.asarray([sense[head] or "" for sense in senses])
        for language in sorted(set(languages[judged].tolist())):
            rows = judged & (languages == language)
            figures = _figures(scored, column, rows)
            keyword_f1, all_negative_f1 = baselines.f1(column, language, rows)
            recall, fpr = figures.recall.value, figures.fpr.high
            cells.append(
                Cell(
                    head=head,
                    language=language,
                    sense=", ".join(sorted(set(sense_of[rows].tolist()) - {"", "neutral"})) or "neutral",
                    figures=figures,
                    threshold=scored.policy.heads[head].threshold_of(language),
                    verdict=assign_tier(figures, settings.gate),
                    keyword_f1=keyword_f1,
                    all_negative_f1=all_negative_f1,
                    deployed_precision=None
                    if recall is None or fpr is None
                    else precision_at_prevalence(fpr, recall, settings.report.prevalence),
                )
            )
        for source in sorted(set(sources[judged].tolist())):
            of_source = judged & (sources == source)
            spoken = sorted(set(languages[of_source].tolist()))
            for language in [*spoken, *([MULTIPLE] if len(spoken) > 1 else [])]:
                rows = of_source if language == MULTIPLE else of_source & (languages == language)
                source_cells.append(SourceCell(head, source, language, str(sense_of[rows][0]), _figures(scored, column, rows)))
    gate = judge({(cell.head, cell.language): cell.verdict for cell in cells}, scored.heads)
    tiers = {head: {cell.language: cell.verdict.tier for cell in cells if cell.head == head} for head in scored.heads}
    return Measures(cells, source_cells, gate, tiers)


def _figures(scored: Scored, column: int, rows: npt.NDArray[np.bool_]) -> HeadFigures:
    return head_figures(scored.probabilities[rows, column], scored.labels[rows, column], scored.flagged[rows, column])


class KeywordBaseline:
    """The baselines on a scored table; the words of every post are found once."""

    def __init__(self, scored: Scored) -> None:
        self.labels = scored.labels
        self.words = np.asarray([words(text) for text in scored.rows["text"]], dtype=object)
        self.train_labels = label_matrix(scored.train_rows, scored.heads)
        self.train_words = np.asarray([words(text) for text in scored.train_rows["text"]], dtype=object)
        self.train_languages = np.asarray(scored.train_rows["language"])

    def f1(self, column: int, language: str, rows: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
        """F1 of a keyword list learnt from the language's training rows, and of flagging nothing; None without positives."""
        truth = self.labels[rows, column]
        if not (truth == 1).any():
            return None, None
        train = (self.train_languages == language) & (self.train_labels[:, column] != MASKED)
        keywords = learn_keywords(self.train_words[train].tolist(), self.train_labels[train, column])
        flags = keyword_flags(self.words[rows].tolist(), keywords)
        nothing = np.zeros(len(truth), dtype=bool)
        return head_figures(flags.astype(float), truth, flags).f1, head_figures(nothing.astype(float), truth, nothing).f1
