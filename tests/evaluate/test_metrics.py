"""Figures against hand-computed tables and scikit-learn; nothing invented where nothing is defined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from evaluate.metrics import head_figures, precision_at_prevalence, wilson

BITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=80)


def figures(scores: list[float], truth: list[int], threshold: float = 0.5):  # type: ignore[no-untyped-def]
    probabilities = np.asarray(scores)
    return head_figures(probabilities, np.asarray(truth, dtype=np.int8), probabilities >= threshold)


def test_a_table_by_hand() -> None:
    made = figures([0.9, 0.8, 0.7, 0.2, 0.6, 0.1, 0.3, 0.4], [1, 1, 1, 1, 0, 0, 0, 0])
    assert (made.n, made.positives, made.negatives, made.prevalence) == (8, 4, 4, 0.5)
    assert (made.precision.value, made.recall.value, made.fpr.value, made.fnr.value) == (0.75, 0.75, 0.25, 0.25)
    assert made.f1 == 0.75
    assert made.auroc == 13 / 16


@pytest.mark.parametrize(("count", "of", "low", "high"), [(0, 204, 0.0, 0.0185), (10, 100, 0.0552, 0.1744), (5, 5, 0.5655, 1.0)])
def test_wilson_intervals(count: int, of: int, low: float, high: float) -> None:
    rate = wilson(count, of)
    assert rate.low == pytest.approx(low, abs=1e-4)
    assert rate.high == pytest.approx(high, abs=1e-4)


@given(BITS)
def test_scikit_learn_agrees(rows: list[tuple[float, int]]) -> None:
    scores, truth = [score for score, _ in rows], [label for _, label in rows]
    made = figures(scores, truth)
    flags = [score >= 0.5 for score in scores]
    if 0 < sum(truth) < len(truth):
        assert made.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        assert made.auprc == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    if sum(truth):
        assert made.f1 == pytest.approx(f1_score(truth, flags), abs=1e-9)
        assert made.recall.value == pytest.approx(recall_score(truth, flags), abs=1e-9)
    if sum(flags):
        assert made.precision.value == pytest.approx(precision_score(truth, flags, zero_division=0), abs=1e-9)


def test_what_is_not_defined_is_none() -> None:
    made = figures([0.1, 0.9], [0, 0])
    assert (made.f1, made.auroc, made.auprc, made.recall.value, made.fnr.low) == (None, None, None, None, None)
    assert made.fpr.value == 0.5
    assert figures([], []).prevalence is None
    assert precision_at_prevalence(0.0, 0.0, 0.1) is None
