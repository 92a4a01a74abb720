"""Figures of one head on one group of rows; loads by path as a Hugging Face metric: `evaluate.load(".../evaluate/metrics.py")`.

This file imports nothing of the project, so that it loads where only Hugging Face's `evaluate` is installed.
"""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.metrics import average_precision_score, roc_auc_score

import evaluate.info
import evaluate.module

CONFIDENCE = 0.95
BINS = 10  # of the calibration error
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval; None where the rows do not define it."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rate(Estimate):
    """A share `count / of` of rows. `effective` is how many independent rows the `of` rows are worth (see `clustered_rate`)."""

    count: int = 0
    of: int = 0
    effective: float = 0.0


def wilson(count: float, of: float) -> tuple[float, float]:
    """The 95% Wilson score interval of the share `count / of` (Wilson 1927, without continuity correction).

    Counts need not be whole: a discounted sample size is allowed.

    >>> low, high = wilson(5, 100)
    >>> round(low, 4), round(high, 4)
    (0.0215, 0.1118)
    """
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    share, weight = count / of, z**2 / of
    centre = share + weight / 2
    half = float(np.sqrt(share * (1 - share) * weight + weight**2 / 4))
    return max(0.0, (centre - half) / (1 + weight)), min(1.0, (centre + half) / (1 + weight))


def clustered_rate(hits: npt.NDArray[np.bool_], families: npt.NDArray[np.int64] | None = None) -> Rate:
    """The share of true `hits`, with a Wilson interval that counts the rows of a family as the fewer independent ones they are.

    The sample size is divided by the design effect of a cluster sample (Rao and Scott 1992, "A Simple Method for the Analysis of
    Clustered Binary Data"), which is 1 where every family has one row. Where all rows agree nothing shows how far the rows of a family
    do, and a family counts as one row. A few hits show it poorly: no upper end is below the one without hits, nor a lower end above the
    one where all are, so that an error more is never better news than none.

    Parameters
    ----------
    hits, families
        Shape (rows,); `families` are the rows' family numbers, None when every row is its own.

    >>> clustered_rate(np.array([True, False, False, False])).count
    1
    """
    of, count = len(hits), int(hits.sum())
    if of == 0:
        return Rate(None, None, None, 0, 0, 0.0)
    effect, independent = 1.0, of
    if families is not None:
        _, codes = np.unique(families, return_inverse=True)
        sizes = np.bincount(codes)
        independent = len(sizes)
        if len(sizes) == 1:
            effect = of  # one family says as much as one row
        elif len(sizes) < of:
            share = count / of
            residuals = np.bincount(codes, weights=hits) - share * sizes
            spread = len(sizes) / (len(sizes) - 1) * float((residuals**2).sum())
            effect = spread / (of * share * (1 - share)) if 0 < count < of else of / len(sizes)
            effect = max(1.0, effect)
    low, high = wilson(count / effect, of / effect)
    low, high = min(low, wilson(independent, independent)[0]), max(high, wilson(0, independent)[1])
    return Rate(count / of, low, high, count, of, of / effect)


@dataclass(frozen=True)
class HeadFigures:
    """Everything the report says about one head on one group of rows.

    `coverage` is the share of rows outside the policy's review band, `selective_error` the share of wrong decisions among
    these (El-Yaniv and Wiener 2010); `ece` is the expected calibration error with bins of equal mass.
    """

    n: int
    families: int
    positives: int
    negatives: int
    prevalence: float | None
    precision: Rate
    recall: Rate
    fpr: Rate
    fnr: Rate
    accuracy: Rate
    coverage: Rate
    selective_error: Rate
    f1: Estimate
    auroc: Estimate
    auprc: Estimate
    ece: Estimate
    brier: Estimate


def head_figures(
    probabilities: Floats,
    truth: npt.NDArray[np.int8],
    flagged: npt.NDArray[np.bool_],
    decided: npt.NDArray[np.bool_] | None = None,
    families: npt.NDArray[np.int64] | None = None,
) -> HeadFigures:
    """Figures of one group of rows; the rates have their intervals, of the other figures only the values are set.

    Parameters
    ----------
    probabilities, truth, flagged, decided, families
        Shape (rows,): calibrated probabilities, true labels (0 or 1), decisions, whether the row is outside the review band
        (None: all are), and family numbers (None: every row is its own).
    """
    positive = truth == 1
    decided = np.ones(len(truth), dtype=bool) if decided is None else decided

    def rate(hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Rate:
        return clustered_rate(hits[among], None if families is None else families[among])

    tp, fp, fn = int((flagged & positive).sum()), int((flagged & ~positive).sum()), int((~flagged & positive).sum())
    everything = np.ones(len(truth), dtype=bool)
    both = 0 < positive.sum() < len(truth)
    return HeadFigures(
        n=len(truth),
        families=len(truth) if families is None else len(np.unique(families)),
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
        prevalence=float(positive.mean()) if len(truth) else None,
        precision=rate(positive, flagged),
        recall=rate(flagged, positive),
        fpr=rate(flagged, ~positive),
        fnr=rate(~flagged, positive),
        accuracy=rate(flagged == positive, everything),
        coverage=rate(decided, everything),
        selective_error=rate(flagged != positive, decided),
        f1=Estimate(2 * tp / (2 * tp + fp + fn) if tp + fn else None),
        auroc=Estimate(float(roc_auc_score(truth, probabilities)) if both else None),
        auprc=Estimate(float(average_precision_score(truth, probabilities)) if both else None),
        ece=Estimate(expected_calibration_error(probabilities, truth) if len(truth) else None),
        brier=Estimate(float(np.mean((probabilities - truth) ** 2)) if len(truth) else None),
    )


def equal_mass_bins(probabilities: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each probability, between the quantiles, so that bins hold equally many rows; equal values share a bin.

    >>> equal_mass_bins(np.array([0.1, 0.2, 0.3, 0.9]), 2).tolist()
    [0, 0, 1, 1]
    """
    edges = np.percentile(probabilities, np.linspace(0, 1, bins + 1) * 100)[1:-1]  # scikit-learn's edges, to the last bit
    return np.searchsorted(edges, probabilities).astype(np.int64)


def expected_calibration_error(probabilities: Floats, truth: npt.NDArray[np.int8], bins: int = BINS) -> float:
    """The mean distance of probability and share of positives over bins of equal mass (Nixon et al. 2019).

    On few rows it is too high, by about the width of a bin's share's own uncertainty.

    >>> expected_calibration_error(np.array([0.2, 0.2, 0.2, 0.2, 0.2]), np.array([0, 0, 0, 0, 1], dtype=np.int8))
    0.0
    """
    signed = np.bincount(equal_mass_bins(probabilities, bins), weights=probabilities - truth)
    return float(np.round(np.abs(signed).sum() / len(truth), 15))


def precision_at_prevalence(fpr: float, recall: float, prevalence: float) -> float | None:
    """Precision a deployer would see at their own prevalence (Bayes); None when nothing would be flagged.

    >>> round(precision_at_prevalence(fpr=0.02, recall=0.8, prevalence=0.001), 3)
    0.038
    """
    flagged = recall * prevalence + fpr * (1 - prevalence)
    return recall * prevalence / flagged if flagged > 0 else None


class HeadMetric(evaluate.module.Metric):
    """`head_figures` as a Hugging Face metric: predictions are calibrated probabilities, references 0 or 1."""

    def _info(self) -> Any:
        return evaluate.info.MetricInfo(
            description="Figures of a binary head at a threshold; shares come with 95% Wilson intervals.",
            citation="",
            inputs_description="predictions: calibrated probabilities; references: 0 or 1; threshold: decision threshold",
            features=datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int8")}),
        )

    def _compute(self, predictions: list[float], references: list[int], threshold: float = 0.5) -> dict[str, Any]:
        probabilities = np.asarray(predictions, dtype=np.float64)
        figures = head_figures(probabilities, np.asarray(references, dtype=np.int8), probabilities >= threshold)
        result: dict[str, Any] = {}
        for name in ("f1", "auroc", "auprc", "ece", "brier"):
            result[name] = getattr(figures, name).value
        for name in ("precision", "recall", "fpr", "fnr", "accuracy"):
            rate = getattr(figures, name)
            result.update({name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high})
        return result
