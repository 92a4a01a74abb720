"""How far annotators agree on raw votes: Krippendorff's alpha for nominal labels, votes may be missing.

Written out instead of imported: the formula is short, the `krippendorff` package is under the GPL and this project is
not, and resampling needs the sums by row that a ready-made function hides.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Agreement:
    """What `agreement` measured; alpha and its interval are None where no disagreement could be expected."""

    alpha: float | None  # 1 = perfect, 0 = as by chance, below 0 = systematic disagreement
    alpha_low: float | None
    alpha_high: float | None
    pairwise_agreement: float | None  # of two votes on one row, how often they are the same (0 to 1), chance not removed
    raters: int  # columns with at least one vote that was compared
    rows: int  # rows with at least two votes


def agreement(votes: NDArray[np.float64]) -> Agreement:
    """Krippendorff's alpha for nominal data, with a percentile bootstrap interval over rows.

    With m votes on a row, of which m_c for label c, and n votes in all rows that have at least two, of which n_c for c,

        alpha = 1 - (n - 1) * sum over rows of (m² - Σ m_c²) / (m - 1)  /  (n² - Σ n_c²)

    which is 1 - observed / expected disagreement (Krippendorff 2011, "Computing Krippendorff's alpha-reliability",
    section C, https://repository.upenn.edu/asc_papers/43). Krippendorff asks for 0.8, and 0.667 for tentative conclusions.

    The interval (95%) resamples rows with replacement 2,000 times under a fixed seed. It takes rows for independent: with
    near copies among them it is too narrow. Resamples in which all votes are the same have no alpha and are left out.

    Parameters
    ----------
    votes
        Rows x raters, any numbers as labels, NaN where a rater did not vote. Rows with fewer than two votes are passed over.

    Raises
    ------
    ValueError
        If `votes` is not a matrix.

    Examples
    --------
    Three raters, one of whom skipped the second row and differs on the third:

    >>> nan = float("nan")
    >>> found = agreement(np.array([[1, 1, 1], [0, 0, nan], [0, 0, 1], [1, 1, 1]]))
    >>> round(found.alpha, 3), round(found.pairwise_agreement, 3), found.raters, found.rows
    (0.643, 0.8, 3, 4)
    """
    if votes.ndim != 2:
        raise ValueError(f"votes are rows x raters, not of {votes.ndim} dimension(s)")
    votes = votes[(~np.isnan(votes)).sum(axis=1) >= 2]
    raters = int((~np.isnan(votes)).any(axis=0).sum())
    if not len(votes):
        return Agreement(None, None, None, None, raters, 0)
    labels = np.unique(votes[~np.isnan(votes)])
    counts = np.stack([(votes == label).sum(axis=1) for label in labels], axis=1)
    # Rows with the same counts are the same to alpha, so a resample of rows is a multinomial draw over the few patterns.
    patterns, frequency = np.unique(counts, axis=0, return_counts=True)
    resampled = np.random.default_rng(0).multinomial(len(votes), frequency / len(votes), size=RESAMPLES)
    alphas = _alpha(patterns, resampled)
    alphas = alphas[~np.isnan(alphas)]
    alpha = _alpha(patterns, frequency[None])[0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(alphas, (tail, 1 - tail)) if not np.isnan(alpha) else (alpha, alpha)
    size = counts.sum(axis=1)
    same = (counts * (counts - 1)).sum() / (size * (size - 1)).sum()
    return Agreement(_number(alpha), _number(low), _number(high), float(same), raters, len(votes))


def _alpha(patterns: NDArray[np.int64], frequency: NDArray[np.int64]) -> NDArray[np.float64]:
    """Alpha of each row of `frequency` (samples x patterns); NaN where a sample's votes are all the same."""
    size = patterns.sum(axis=1)
    observed = frequency @ ((size**2 - (patterns**2).sum(axis=1)) / (size - 1))
    totals = frequency @ patterns
    votes = totals.sum(axis=1)
    expected = (votes**2 - (totals**2).sum(axis=1)).astype(np.float64)
    expected[expected == 0] = np.nan
    return np.asarray(1 - (votes - 1) * observed / expected)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
