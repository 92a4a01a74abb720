"""Tests and intervals of differences: between languages (different rows) and between releases (the same rows)."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binomtest, fisher_exact

from evaluate.metrics import CONFIDENCE, Estimate, Rate, clustered_rate

POWER = 0.8


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): rejecting those up to alpha keeps the chance of any false rejection up to alpha.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return [float(value) for value in adjusted]


def rate_difference(rate: Rate, other: Rate) -> Estimate:
    """`rate - other` of different rows, with the interval of Newcombe (1998, method 10) from the two Wilson intervals.

    Where rows of the two groups are translations of each other the truth is narrower, so that the interval errs to the safe side.
    """
    if rate.value is None or other.value is None or rate.low is None or rate.high is None or other.low is None or other.high is None:
        return Estimate(None)
    difference = rate.value - other.value
    low = difference - float(np.hypot(rate.value - rate.low, other.high - other.value))
    high = difference + float(np.hypot(rate.high - rate.value, other.value - other.low))
    return Estimate(difference, low, high)


def rates_differ(rate: Rate, other: Rate) -> float:
    """Two-sided p-value of Fisher's exact test that two groups of different rows have the same rate; 1 where a group is empty.

    Counts are those of the effective sample sizes, rounded, so that rows of one family do not count as independent.
    """
    counts = []
    for one in (rate, other):
        of = round(one.effective)
        count = round((one.value or 0) * one.effective)
        counts.append([count, of - count])
    return float(fisher_exact(np.asarray(counts)).pvalue)


def paired_difference(
    gained: npt.NDArray[np.bool_], lost: npt.NDArray[np.bool_], families: npt.NDArray[np.int64] | None = None
) -> Estimate:
    """The share of rows that gain less the share that lose: a difference of two rates on the same rows, with its 95% interval.

    The adjusted Wald interval of Bonett and Price (2012), with counts discounted for rows of one family as `clustered_rate` does.

    Parameters
    ----------
    gained, lost, families
        Shape (rows,); no row does both.

    >>> paired_difference(np.array([True, True, False, False]), np.array([False, False, False, False])).value
    0.5
    """
    of = len(gained)
    if not of:
        return Estimate(None)
    effective = clustered_rate(gained | lost, families).effective
    up, down = (float(hits.sum()) * effective / of for hits in (gained, lost))
    more, less = (up + 1) / (effective + 2), (down + 1) / (effective + 2)
    half = float(ndtri(0.5 + CONFIDENCE / 2)) * math.sqrt((more + less - (more - less) ** 2) / (effective + 2))
    value = float(gained.mean() - lost.mean())
    return Estimate(value, max(-1.0, min(value, more - less - half)), min(1.0, max(value, more - less + half)))


def losses_and_gains(worse: npt.NDArray[np.bool_], better: npt.NDArray[np.bool_], families: npt.NDArray[np.int64]) -> tuple[int, int]:
    """In how many families more rows become wrong than right, and in how many more become right than wrong.

    A family counts once, so that near duplicates are not taken for independent evidence.

    Parameters
    ----------
    worse, better, families
        Shape (rows,): newly wrong, newly right, family numbers.

    >>> losses_and_gains(np.array([True, True, True, False]), np.array([False, False, False, True]), np.array([0, 0, 1, 2]))
    (2, 1)
    """
    _, codes = np.unique(families, return_inverse=True)
    net = np.bincount(codes, weights=worse) - np.bincount(codes, weights=better)
    return int((net > 0).sum()), int((net < 0).sum())


def mcnemar(losses: int, gains: int) -> float:
    """Two-sided p-value of the exact McNemar test that as many become wrong as become right.

    >>> mcnemar(6, 0)
    0.03125
    """
    return float(binomtest(losses, losses + gains).pvalue) if losses + gains else 1.0


def minimum_detectable_difference(rate: float, of: float, other_of: float) -> float | None:
    """By how much a rate must exceed another group's `rate` to be found significant with 80% probability (two-sided test, 5%).

    The difference d that solves d = z(0.975) sqrt(2 m (1 - m) / h) + z(0.8) sqrt(p (1 - p) / n + q (1 - q) / k), where p is
    `rate` over n = `other_of` rows, q = p + d over k = `of` rows, m the pooled share and h the harmonic mean of n and k
    (Fleiss, Levin and Paik 2003, "Statistical Methods for Rates and Proportions", section 4.2). None if no difference is enough.

    >>> round(minimum_detectable_difference(0.05, 435, 435), 3)
    0.05
    """
    if min(of, other_of) < 1 or not 0 <= rate < 1:
        return None
    confident, powerful = float(ndtri(0.5 + CONFIDENCE / 2)), float(ndtri(POWER))

    def shortfall(difference: float) -> float:
        higher = min(1.0, rate + difference)
        pooled = (higher * of + rate * other_of) / (of + other_of)
        null = pooled * (1 - pooled) * (1 / of + 1 / other_of)
        apart = higher * (1 - higher) / of + rate * (1 - rate) / other_of
        return difference - confident * math.sqrt(null) - powerful * math.sqrt(apart)

    if shortfall(1 - rate) < 0:
        return None
    return float(brentq(shortfall, 1e-9, 1 - rate))  # not from 0 on: with a rate of 0 the equation holds there as well
