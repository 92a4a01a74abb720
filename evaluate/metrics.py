"""Figures of one head on one group of rows, with 95% Wilson intervals for the rates."""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluate.info import MetricInfo
from evaluate.module import Metric

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A share of `of` rows with its Wilson interval; `value` is None when there is no row to count."""

    value: float | None
    low: float | None
    high: float | None
    count: int
    of: int


def wilson(count: int, of: int) -> Rate:
    """The share `count / of` with its 95% Wilson score interval (Wilson 1927, without continuity correction).

    >>> rate = wilson(5, 100)
    >>> round(rate.low, 4), round(rate.high, 4)
    (0.0215, 0.1118)
    """
    if of == 0:
        return Rate(None, None, None, count, of)
    interval = binomtest(count, of).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Rate(count / of, float(interval.low), float(interval.high), count, of)


@dataclass(frozen=True)
class HeadFigures:
    """Everything the report says about one head on one group of rows; None where the rows do not define it."""

    n: int
    positives: int
    negatives: int
    prevalence: float | None
    precision: Rate
    recall: Rate
    fpr: Rate
    fnr: Rate
    f1: float | None
    auroc: float | None
    auprc: float | None


def head_figures(probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int8], flagged: npt.NDArray[np.bool_]) -> HeadFigures:
    """Figures of rows with calibrated `probabilities`, true labels `truth` (0 or 1) and decisions `flagged`, all of shape (rows,)."""
    positive = truth == 1
    tp, fp = int((flagged & positive).sum()), int((flagged & ~positive).sum())
    fn, tn = int((~flagged & positive).sum()), int((~flagged & ~positive).sum())
    both = tp + fn > 0 and fp + tn > 0
    return HeadFigures(
        n=len(truth),
        positives=tp + fn,
        negatives=fp + tn,
        prevalence=(tp + fn) / len(truth) if len(truth) else None,
        precision=wilson(tp, tp + fp),
        recall=wilson(tp, tp + fn),
        fpr=wilson(fp, fp + tn),
        fnr=wilson(fn, tp + fn),
        f1=2 * tp / (2 * tp + fp + fn) if tp + fn else None,
        auroc=float(roc_auc_score(truth, probabilities)) if both else None,
        auprc=float(average_precision_score(truth, probabilities)) if both else None,
    )


def precision_at_prevalence(fpr: float, recall: float, prevalence: float) -> float | None:
    """Precision a deployer would see at their own prevalence (Bayes); None when nothing would be flagged.

    >>> round(precision_at_prevalence(fpr=0.02, recall=0.8, prevalence=0.001), 3)
    0.038
    """
    flagged = recall * prevalence + fpr * (1 - prevalence)
    return recall * prevalence / flagged if flagged > 0 else None


class HeadMetric(Metric):
    """`head_figures` as a Hugging Face metric: predictions are probabilities, references 0 or 1."""

    def _info(self) -> MetricInfo:
        return MetricInfo(
            description="Per-head figures at a threshold, with Wilson intervals for the rates.",
            citation="",
            inputs_description="predictions: calibrated probabilities; references: 0 or 1; threshold: decision threshold",
            features=datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int8")}),
        )

    def _compute(self, predictions: list[float], references: list[int], threshold: float = 0.5) -> dict[str, Any]:
        probabilities = np.asarray(predictions, dtype=np.float64)
        figures = head_figures(probabilities, np.asarray(references, dtype=np.int8), probabilities >= threshold)
        rates = {name: getattr(figures, name).value for name in ("precision", "recall", "fpr", "fnr")}
        return {"f1": figures.f1, "auroc": figures.auroc, "auprc": figures.auprc, **rates}
