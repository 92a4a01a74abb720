"""How well scores rank rows that a bootstrap drew several times or not at all, for all of its draws at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Weights = npt.NDArray[np.float32]  # how often each row or family was drawn: whole numbers, exact up to 2**24


def counts_below(values: Floats, weights: Weights, at: Floats) -> tuple[Weights, Weights, Weights]:
    """Weighted numbers of `values` below and not above each point of `at`, both (points, draws), and of all values, (draws,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    sums = np.zeros((len(values) + 1, weights.shape[1]), dtype=np.float32)
    np.cumsum(weights[order], axis=0, out=sums[1:])
    return sums[np.searchsorted(ordered, at, "left")], sums[np.searchsorted(ordered, at, "right")], sums[-1]


def weighted_ranking(scores: Floats, truth: npt.NDArray[np.int8], weights: Weights) -> tuple[Floats, Floats]:
    """AUROC and AUPRC (average precision) of weighted rows for every draw.

    Both are means over positives: of the share of negatives below (ties count half), and of the precision at the positive's score.

    Parameters
    ----------
    scores, truth
        Shape (rows,).
    weights
        Shape (rows, draws).

    >>> auroc, auprc = weighted_ranking(np.array([0.1, 0.4, 0.6]), np.array([0, 1, 1], dtype=np.int8), np.ones((3, 1), np.float32))
    >>> float(auroc[0]), float(auprc[0])
    (1.0, 1.0)
    """
    positive = truth == 1
    if positive.all() or not positive.any():
        nothing = np.full(weights.shape[1], np.nan)
        return nothing, nothing
    at, own = scores[positive], weights[positive]
    below, not_above, negatives = counts_below(scores[~positive], weights[~positive], at)
    own_below, _, positives = counts_below(at, own, at)
    hits, alarms = positives - own_below, negatives - below
    with np.errstate(divide="ignore", invalid="ignore"):
        wins = np.einsum("pd,pd->d", own, (below + not_above) / 2, dtype=np.float64) / (positives.astype(np.float64) * negatives)
        precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
        return wins, np.einsum("pd,pd->d", own, precision, dtype=np.float64) / positives
