"""Error rates and AUCs between groups of rows; loads by path as a Hugging Face metric: `evaluate.load(".../evaluate/group_metric.py")`.

This file imports nothing of the project, so that it loads where only Hugging Face's `evaluate` is installed.
"""

from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from fairlearn.metrics import MetricFrame, equalized_odds_difference, false_negative_rate, false_positive_rate
from sklearn.metrics import roc_auc_score

import evaluate.info
import evaluate.module


def _auc(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int8], positives: npt.NDArray[Any], negatives: npt.NDArray[Any]
) -> float | None:
    """AUROC of the positives of some rows against the negatives of others; None where there are none of either."""
    rows = (positives & (truth == 1)) | (negatives & (truth == 0))
    return float(roc_auc_score(truth[rows], scores[rows])) if len(np.unique(truth[rows])) == 2 else None


class GroupMetric(evaluate.module.Metric):
    """FPR, FNR and equalised odds between groups, and subgroup, BPSN and BNSP AUC of each (Borkan et al. 2019)."""

    def _info(self) -> Any:
        return evaluate.info.MetricInfo(
            description="Error rates between groups at a threshold, and subgroup, BPSN and BNSP AUC of each group.",
            citation="",
            inputs_description="predictions: probabilities; references: 0 or 1; groups: the group of each row; threshold: of the decision",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int8"), "groups": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int], groups: list[str], threshold: float = 0.5) -> dict[str, Any]:
        scores, truth, group_of = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.int8), np.asarray(groups)
        flagged = (scores >= threshold).astype(int)
        frame = MetricFrame(
            metrics={"fpr": false_positive_rate, "fnr": false_negative_rate}, y_true=truth, y_pred=flagged, sensitive_features=group_of
        )
        gaps = frame.difference(method="between_groups")
        result: dict[str, Any] = {
            "fpr_difference": float(gaps["fpr"]),
            "fnr_difference": float(gaps["fnr"]),
            "equalized_odds_difference": float(equalized_odds_difference(truth, flagged, sensitive_features=group_of)),
        }
        for group in sorted(set(groups)):
            inside = group_of == group
            result[group] = {
                **{name: float(value) for name, value in frame.by_group.loc[group].items()},
                "subgroup_auc": _auc(scores, truth, inside, inside),
                "bpsn_auc": _auc(scores, truth, ~inside, inside),
                "bnsp_auc": _auc(scores, truth, inside, ~inside),
            }
        return result
