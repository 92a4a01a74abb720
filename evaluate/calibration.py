"""Do probabilities mean what they say, and what would another threshold do: the reliability curve and the threshold sweep."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from evaluate.metrics import Rate, clustered_rate, equal_mass_bins
from evaluate.predictions import Scored
from train.labels import MASKED

SWEEP_STEPS = 50


@dataclass(frozen=True)
class Reliability:
    """One bin of a head's test rows: the mean probability beside the share that is positive."""

    head: str
    probability: float
    positive: Rate


@dataclass(frozen=True)
class Sweep:
    """What thresholds would do to one head in one language: lists of the same length, thresholds ascending."""

    head: str
    language: str
    shipped: float
    thresholds: list[float]
    fpr: list[float]
    fpr_high: list[float]  # upper ends of its intervals
    recall: list[float]


def reliability(scored: Scored) -> list[Reliability]:
    """The reliability curve of every head over all languages, in bins of equal mass."""
    families = np.unique(np.asarray(scored.rows["family"][:]), return_inverse=True)[1]
    found = []
    for column, head in enumerate(scored.heads):
        rows = np.flatnonzero(scored.labels[:, column] != MASKED)
        probabilities, truth = scored.probabilities[rows, column], scored.labels[rows, column]
        bins = equal_mass_bins(probabilities) if len(rows) else np.zeros(0, dtype=np.int64)
        for number in np.unique(bins):
            inside = bins == number
            share = clustered_rate(truth[inside] == 1, families[rows[inside]])
            found.append(Reliability(head, float(probabilities[inside].mean()), share))
    return found


def threshold_sweep(scored: Scored, cells: Collection[tuple[str, str]]) -> list[Sweep]:
    """FPR and recall over thresholds for the given (head, language) cells, each with negatives and positives.

    Thresholds are quantiles of the cell's probabilities, because equal steps would miss where a skewed score changes.
    """
    languages = np.asarray(scored.rows["language"][:])
    families = np.unique(np.asarray(scored.rows["family"][:]), return_inverse=True)[1]
    found = []
    for head, language in sorted(cells):
        column = scored.heads.index(head)
        truth = np.where(languages == language, scored.labels[:, column], MASKED)
        negatives = scored.probabilities[truth == 0, column]
        positives = np.sort(scored.probabilities[truth == 1, column])
        if not len(negatives) or not len(positives):
            continue
        shipped = scored.policy.heads[head].threshold_of(language)
        grid = np.quantile(np.concatenate([negatives, positives]), np.linspace(0, 1, SWEEP_STEPS))
        grid = np.unique(np.append(np.append(grid, np.quantile(positives, np.linspace(0, 1, SWEEP_STEPS))), shipped))
        rates = [clustered_rate(negatives >= value, families[truth == 0]) for value in grid]
        found.append(
            Sweep(
                head=head,
                language=language,
                shipped=shipped,
                thresholds=[float(value) for value in grid],
                fpr=[rate.value or 0.0 for rate in rates],
                fpr_high=[1.0 if rate.high is None else rate.high for rate in rates],
                recall=[float(value) for value in 1 - np.searchsorted(positives, grid, "left") / len(positives)],
            )
        )
    return found
