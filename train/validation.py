"""Per-language validation figures, their macro mean and their worst language: what chooses the best checkpoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from train.loss import MASKED

MIN_PER_CLASS = 5  # a language with fewer positives or negatives than this says nothing about ranking


def language_metrics(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], languages: Sequence[str], heads: Sequence[str]
) -> dict[str, float]:
    """AUPRC, AUROC and F1 (at probability 0.5) per head and language, with `macro_` and `worst_` aggregates.

    Keys are `<head>/<language>/<metric>`. The aggregates run over all (head, language) cells with at least
    `MIN_PER_CLASS` positives and negatives; if there is none they are 0, the worst value.
    """
    language_of = np.asarray(languages)
    cells: dict[str, list[float]] = {"auprc": [], "auroc": [], "f1": []}
    metrics: dict[str, float] = {}
    for column, head in enumerate(heads):
        for language in sorted(set(languages)):
            rows = (language_of == language) & (labels[:, column] != MASKED)
            truth, scores = labels[rows, column], logits[rows, column]
            if min(int((truth == 1).sum()), int((truth == 0).sum())) < MIN_PER_CLASS:
                continue
            values = {
                "auprc": float(average_precision_score(truth, scores)),
                "auroc": float(roc_auc_score(truth, scores)),
                "f1": float(f1_score(truth, scores > 0, zero_division=0)),
            }
            for name, value in values.items():
                metrics[f"{head}/{language}/{name}"] = value
                cells[name].append(value)
    for name, values_of in cells.items():
        metrics[f"macro_{name}"] = float(np.mean(values_of)) if values_of else 0.0
        metrics[f"worst_{name}"] = float(np.min(values_of)) if values_of else 0.0
    return metrics


def make_compute_metrics(languages: Sequence[str], heads: Sequence[str]) -> Any:
    """`language_metrics` as the callback that `transformers.Trainer` calls; rows must come in `languages`' order."""

    def compute(prediction: Any) -> dict[str, float]:
        return language_metrics(prediction.predictions, prediction.label_ids, languages, heads)

    return compute
