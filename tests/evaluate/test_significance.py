"""Tests and intervals of differences against published examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from evaluate.metrics import Rate, wilson
from evaluate.significance import holm, losses_and_gains, mcnemar, minimum_detectable_difference, rate_difference, rates_differ


def rate(count: int, of: int) -> Rate:
    return Rate(count / of, *wilson(count, of), count, of, of)


def test_newcombes_own_example() -> None:
    """Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80 has the interval 0.0524 to 0.3339."""
    made = rate_difference(rate(56, 70), rate(48, 80))
    assert (made.value, made.low, made.high) == (pytest.approx(0.2), pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_a_group_without_rows_has_no_difference() -> None:
    assert rate_difference(Rate(None), rate(1, 2)).value is None
    assert rates_differ(Rate(None), rate(1, 2)) == 1.0


def test_fisher_counts_effective_rows() -> None:
    assert rates_differ(rate(8, 40), rate(20, 40)) == pytest.approx(float(fisher_exact([[8, 32], [20, 20]]).pvalue))
    doubled = Rate(0.2, *wilson(8, 40), 16, 80, 40.0)
    assert rates_differ(doubled, rate(20, 40)) == rates_differ(rate(8, 40), rate(20, 40))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_nor_changes_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.asarray(adjusted)[order]) >= 0).all()


def test_mcnemar_by_hand() -> None:
    """2 rows newly wrong and 9 newly right: P(X <= 2 or X >= 9 | 11, 1/2) = 134 / 2048."""
    worse = np.asarray([True] * 2 + [False] * 20)
    better = np.asarray([False] * 2 + [True] * 9 + [False] * 11)
    assert losses_and_gains(worse, better, np.arange(22)) == (2, 9)
    assert mcnemar(2, 9) == mcnemar(9, 2) == pytest.approx(134 / 2048)
    assert mcnemar(0, 0) == 1.0


def test_near_duplicates_count_once_in_mcnemar() -> None:
    worse = np.ones(30, dtype=bool)
    assert losses_and_gains(worse, ~worse, np.repeat(np.arange(3), 10)) == (3, 0)
    assert losses_and_gains(np.arange(4) < 3, np.arange(4) == 3, np.asarray([5, 5, 7, 7])) == (1, 0), "7 loses one row and gains one"
    assert mcnemar(3, 0) == 0.25


def test_detectable_differences_of_the_textbook() -> None:
    """Fleiss, Levin and Paik (2003), table A.4 without continuity correction: 435 per group for 5% against 10%."""
    assert minimum_detectable_difference(0.05, 435, 435) == pytest.approx(0.05, abs=1e-4)
    few, many = minimum_detectable_difference(0.02, 205, 4000), minimum_detectable_difference(0.02, 2050, 4000)
    assert few is not None
    assert many is not None
    assert few > 2 * many
    assert minimum_detectable_difference(0.9, 10, 10) is None, "no rate can be so much higher"
    assert minimum_detectable_difference(0.5, 0, 10) is None


def test_the_detectable_difference_is_detected_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    difference = minimum_detectable_difference(0.1, 400, 600)
    assert difference is not None
    ours, theirs = rng.binomial(400, 0.1 + difference, 2000), rng.binomial(600, 0.1, 2000)
    pooled = (ours + theirs) / 1000
    z = (ours / 400 - theirs / 600) / np.sqrt(pooled * (1 - pooled) * (1 / 400 + 1 / 600))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)
