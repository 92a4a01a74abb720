"""Which labels a model's probabilities contradict, by confident learning, and how many of each language and head."""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores


def find_contradictions(cells: pd.DataFrame) -> pd.DataFrame:
    """Add `quality`, `contradicted` and `rank` to judged labels, and order them by language and quality.

    Confident learning (Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"): per head
    and over all languages, because a small language has too few rows for thresholds of its own. `quality` is the
    calibrated probability of the given label, as it is: adjusted for how frequent the labels are, it ranked planted
    errors lower in a trial on public research data.

    Parameters
    ----------
    cells
        One line per (row, head), with at least `head`, `language`, `id`, `label` (0 or 1) and `probability` (of 1).
    """
    found = [_judge_head(of_head) for _, of_head in cells.groupby("head")]
    ordered = pd.concat(found).sort_values(["language", "quality", "id", "head"], ignore_index=True)
    counted = ordered["contradicted"].astype("Int64").groupby(ordered["language"]).cumsum()
    return ordered.assign(rank=counted.where(ordered["contradicted"]))


def _judge_head(cells: pd.DataFrame) -> pd.DataFrame:
    labels = cells["label"].to_numpy(dtype=np.int64)
    probability = cells["probability"].to_numpy(dtype=np.float64)
    both = np.stack([1 - probability, probability], axis=1)
    if len(np.unique(labels)) < 2:  # nothing to learn from what confident labels of the other kind look like
        return cells.assign(quality=both[np.arange(len(labels)), labels], contradicted=False)
    return cells.assign(quality=get_label_quality_scores(labels, both), contradicted=find_label_issues(labels, both, n_jobs=1))


def count_contradictions(cells: pd.DataFrame) -> pd.DataFrame:
    """Per language and head: labels `judged`, `contradicted`, and of these `labelled_1` and `labelled_0`; with the `share`."""
    wrong = cells.assign(labelled_1=cells["contradicted"] & (cells["label"] == 1), labelled_0=cells["contradicted"] & (cells["label"] == 0))
    groups = wrong.groupby(["language", "head"])
    counts = groups[["contradicted", "labelled_1", "labelled_0"]].sum()
    counts.insert(0, "judged", groups.size())
    return counts.assign(share=counts["contradicted"] / counts["judged"]).reset_index()
