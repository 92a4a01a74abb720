"""Figures against hand-computed tables, scikit-learn and fairlearn; nothing invented where nothing is defined."""

import numpy as np
import pytest
from fairlearn.metrics import false_negative_rate, false_positive_rate
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from evaluate.metrics import (
    HeadFigures,
    clustered_rate,
    equal_mass_bins,
    expected_calibration_error,
    head_figures,
    precision_at_prevalence,
    wilson,
)

BITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=80)


def figures(scores: list[float], truth: list[int], threshold: float = 0.5) -> HeadFigures:
    probabilities = np.asarray(scores, dtype=np.float64)
    return head_figures(probabilities, np.asarray(truth, dtype=np.int8), probabilities >= threshold)


def test_a_table_by_hand() -> None:
    made = figures([0.9, 0.8, 0.7, 0.2, 0.6, 0.1, 0.3, 0.4], [1, 1, 1, 1, 0, 0, 0, 0])
    assert (made.n, made.positives, made.negatives, made.prevalence) == (8, 4, 4, 0.5)
    assert (made.precision.value, made.recall.value, made.fpr.value, made.fnr.value) == (0.75, 0.75, 0.25, 0.25)
    assert (made.accuracy.value, made.coverage.value, made.selective_error.value) == (0.75, 1.0, 0.25)
    assert made.f1.value == 0.75
    assert made.auroc.value == 13 / 16
    assert made.brier.value == pytest.approx((0.01 + 0.04 + 0.09 + 0.64 + 0.36 + 0.01 + 0.09 + 0.16) / 8)


def test_selective_risk_by_hand() -> None:
    probabilities = np.asarray([0.9, 0.55, 0.45, 0.1, 0.8])
    truth = np.asarray([1, 0, 1, 0, 0], dtype=np.int8)
    made = head_figures(probabilities, truth, probabilities >= 0.5, decided=np.abs(probabilities - 0.5) >= 0.1)
    assert made.coverage.value == 3 / 5
    assert made.selective_error.value == 1 / 3
    assert made.accuracy.value == 2 / 5


@pytest.mark.parametrize(("count", "of", "low", "high"), [(0, 204, 0.0, 0.0185), (10, 100, 0.0552, 0.1744), (5, 5, 0.5655, 1.0)])
def test_wilson_intervals(count: int, of: int, low: float, high: float) -> None:
    assert wilson(count, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 2000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_scipy_has_the_same_wilson_interval(counts: tuple[int, int]) -> None:
    interval = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson(*counts) == (pytest.approx(interval.low, abs=1e-9), pytest.approx(interval.high, abs=1e-9))


def test_rows_of_a_family_are_not_independent_evidence() -> None:
    hits = np.asarray([True] * 5 + [False] * 95)
    alone = clustered_rate(hits, np.arange(100))
    assert (alone.low, alone.high, alone.effective) == (*wilson(5, 100), 100)
    tripled = clustered_rate(np.repeat(hits, 3), np.repeat(np.arange(100), 3))
    assert tripled.value == 0.05
    assert tripled.effective == pytest.approx(100, rel=0.02), "each row three times says what each row once says"
    assert (tripled.low, tripled.high) == (pytest.approx(alone.low, abs=1e-3), pytest.approx(alone.high, abs=1e-3))
    spread = clustered_rate(np.tile(hits, 3), np.concatenate([np.arange(100), np.roll(np.arange(100), 30), np.roll(np.arange(100), 60)]))
    assert spread.effective == 300, "families whose rows do not agree cost nothing"


def test_families_where_nobody_errs_count_once() -> None:
    rate = clustered_rate(np.zeros(40, dtype=bool), np.repeat(np.arange(10), 4))
    assert rate.effective == 10
    assert (rate.low, rate.high) == wilson(0, 10)
    assert clustered_rate(np.asarray([True, False]), np.asarray([7, 7])).effective == 1


def test_one_error_is_no_better_news_than_none() -> None:
    """42 families of four rows: without an error at most z2 / (42 + z2) = 8.4%, and with one no less."""
    families = np.repeat(np.arange(42), 4)
    none, one = clustered_rate(np.zeros(168, dtype=bool), families), clustered_rate(np.arange(168) == 0, families)
    assert none.high == one.high == pytest.approx(1.959964**2 / (42 + 1.959964**2), abs=1e-6)
    assert clustered_rate(np.arange(168) > 0, families).low == clustered_rate(np.ones(168, dtype=bool), families).low


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=30))
def test_no_hits_have_the_lowest_upper_end_and_only_hits_the_highest_lower_end(rows: list[list[bool]]) -> None:
    hits = np.asarray([hit for family in rows for hit in family])
    families = np.repeat(np.arange(len(rows)), [len(family) for family in rows])
    made, none, all_ = (clustered_rate(values, families) for values in (hits, np.zeros_like(hits), np.ones_like(hits)))
    for rate in (made, none, all_):
        assert rate.low is not None
        assert rate.high is not None
        assert rate.value is not None
        assert 0 <= rate.low <= rate.value + 1e-12
        assert rate.value <= rate.high + 1e-12 <= 1 + 1e-9
    assert (made.high or 0) >= (none.high or 0)
    assert (made.low or 0) <= (all_.low or 0)


@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 2**32))
def test_every_further_family_with_an_error_raises_the_bound(count: int, size: int, seed: int) -> None:
    """Families of one size, of which one after the other has one row wrong, or all."""
    families = np.repeat(np.arange(count), size)
    order = np.random.default_rng(seed).permutation(count)
    for wrong in (np.arange(count * size) % size == 0, np.ones(count * size, dtype=bool)):
        bounds = [clustered_rate(wrong & np.isin(families, order[:number]), families).high or 0 for number in range(count + 1)]
        assert (np.diff(bounds) >= -1e-9).all()


@given(BITS)
def test_scikit_learn_and_fairlearn_agree(rows: list[tuple[float, int]]) -> None:
    scores, truth = [score for score, _ in rows], [label for _, label in rows]
    made = figures(scores, truth)
    flags = [int(score >= 0.5) for score in scores]
    assert made.accuracy.value == pytest.approx(accuracy_score(truth, flags), abs=1e-9)
    assert made.brier.value == pytest.approx(brier_score_loss(truth, scores, pos_label=1), abs=1e-9)
    if 0 < sum(truth) < len(truth):
        assert made.auroc.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        assert made.auprc.value == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
        assert made.fpr.value == pytest.approx(false_positive_rate(truth, flags), abs=1e-9)
        assert made.fnr.value == pytest.approx(false_negative_rate(truth, flags), abs=1e-9)
    if sum(truth):
        assert made.f1.value == pytest.approx(f1_score(truth, flags), abs=1e-9)
        assert made.recall.value == pytest.approx(recall_score(truth, flags), abs=1e-9)
    if sum(flags):
        assert made.precision.value == pytest.approx(precision_score(truth, flags, zero_division=0), abs=1e-9)


@given(st.integers(0, 2**32), st.integers(20, 300))
def test_calibration_error_is_that_of_scikit_learns_curve(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.random(count)
    truth = (rng.random(count) < probabilities**2).astype(np.int8)
    share, mean = calibration_curve(truth, probabilities, n_bins=10, strategy="quantile")
    weights = np.bincount(equal_mass_bins(probabilities)) / count
    assert expected_calibration_error(probabilities, truth) == pytest.approx(float(np.sum(weights * np.abs(share - mean))), abs=1e-9)


def test_bins_hold_equally_many_rows() -> None:
    assert np.bincount(equal_mass_bins(np.linspace(0, 1, 1000) ** 3)).tolist() == [100] * 10


def test_what_is_not_defined_is_none() -> None:
    made = figures([0.1, 0.9], [0, 0])
    assert (made.f1.value, made.auroc.value, made.auprc.value, made.recall.value, made.fnr.low) == (None, None, None, None, None)
    assert made.fpr.value == 0.5
    empty = figures([], [])
    assert (empty.prevalence, empty.ece.value, empty.brier.value, empty.accuracy.value) == (None, None, None, None)
    assert precision_at_prevalence(0.0, 0.0, 0.1) is None
