"""Per-language validation figures and their aggregates over languages: what chooses the best checkpoint."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from data_prep.command import UserError
from train.labels import MASKED

MIN_PER_CLASS = 5  # a language with fewer positives or negatives than this says nothing about ranking
METRICS = ("auprc", "auroc", "f1")


def parse_metric(name: str) -> tuple[Callable[[Sequence[float]], float], str]:
    """The aggregate over languages and the metric that a name such as macro_auprc, worst_f1 or p25_auroc asks for.

    Raises
    ------
    UserError
        If it is none of them.

    >>> aggregate, metric = parse_metric("p25_f1")
    >>> aggregate([0.2, 0.4, 0.6, 0.8, 1.0]), metric
    (0.4, 'f1')
    """
    match = re.fullmatch(r"(macro|worst|p([1-9]\d?))_(auprc|auroc|f1)", name)
    if not match:
        raise UserError(
            f"best_metric={name} is unknown: use macro_, worst_ or a percentile such as p25_ before auprc, auroc or f1, or loss"
        )
    kind, percent, metric = match.groups()
    if kind == "macro":
        return lambda values: float(np.mean(values)), metric
    if kind == "worst":
        return lambda values: float(np.min(values)), metric
    return lambda values: float(np.percentile(values, int(percent))), metric


def language_metrics(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], languages: Sequence[str], heads: Sequence[str], best_metric: str = "loss"
) -> dict[str, float]:
    """AUPRC, AUROC and F1 (at probability 0.5) per head and language, with `macro_` and `worst_` aggregates.

    Keys are `<head>/<language>/<metric>`. The aggregates run over all (head, language) cells with at least
    `MIN_PER_CLASS` positives and negatives; if there is none they are 0, the worst value. `best_metric` names one more.
    """
    language_of = np.asarray(languages)
    cells: dict[str, list[float]] = {metric: [] for metric in METRICS}
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
    names = {f"{kind}_{metric}" for kind in ("macro", "worst") for metric in METRICS} | {best_metric} - {"loss"}
    for name in sorted(names):
        aggregate, metric = parse_metric(name)
        metrics[name] = aggregate(cells[metric]) if cells[metric] else 0.0
    return metrics
