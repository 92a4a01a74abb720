"""Krippendorff's alpha is the published one, by whatever road it is computed, and its interval holds what it promises."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from data_prep.agreement import agreement

NAN = np.nan
# Votes of Krippendorff 2011 and Hayes & Krippendorff 2007, rows = raters as printed there.
TWO_RATERS_BINARY = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
TWO_RATERS_FIVE_LABELS = [[1, 1, 2, 2, 4, 3, 3, 3, 5, 4, 4, 1], [2, 1, 2, 2, 2, 3, 3, 3, 5, 4, 4, 4]]
FOUR_RATERS_WITH_GAPS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]

matrices = arrays(
    np.float64, st.tuples(st.integers(0, 8), st.integers(1, 5)), elements=st.sampled_from([0.0, 1.0, 2.0, NAN]), fill=st.nothing()
)


def alpha_by_pairs(votes: NDArray[np.float64]) -> float | None:
    """The definition, pair by pair: 1 - mean disagreement within rows / mean disagreement between any two votes."""
    rows = [[vote for vote in row if not np.isnan(vote)] for row in votes]
    rows = [row for row in rows if len(row) >= 2]
    pool = [vote for row in rows for vote in row]
    expected = [one != other for one, other in itertools.permutations(pool, 2)]
    if not any(expected):
        return None
    observed = sum(sum(one != other for one, other in itertools.permutations(row, 2)) / (len(row) - 1) for row in rows) / len(pool)
    return float(1 - observed / np.mean(expected))


@pytest.mark.parametrize(
    ("raters", "alpha", "rows"),
    [
        (TWO_RATERS_BINARY, 1 - 19 * 4 / (14 * 6), 10),  # 0.095: 4 of 20 coincidences disagree; 14 zeros, 6 ones
        (TWO_RATERS_FIVE_LABELS, 1 - 23 * 6 / (24**2 - 4**2 - 6**2 - 6**2 - 6**2 - 2**2), 12),  # 0.692
        (FOUR_RATERS_WITH_GAPS, (39 * 32 - 344) / (39 * 40 - 344), 11),  # 0.743; the last row has one vote
    ],
)
def test_published_examples(raters: list[list[float]], alpha: float, rows: int) -> None:
    found = agreement(np.array(raters, dtype=float).T)
    assert found.alpha == pytest.approx(alpha)
    assert (found.raters, found.rows) == (len(raters), rows)
    assert found.alpha_low is not None
    assert found.alpha_high is not None
    assert found.alpha_low < alpha < found.alpha_high


def test_published_figures_to_three_decimals() -> None:
    assert round(agreement(np.array(TWO_RATERS_BINARY, dtype=float).T).alpha or 0, 3) == 0.095
    assert round(agreement(np.array(FOUR_RATERS_WITH_GAPS).T).alpha or 0, 3) == 0.743


def test_pairwise_agreement_counts_each_pair_of_votes_once() -> None:
    # rows of 3, 2 and 3 votes: 3 + 1 + 3 pairs, of which 3 + 0 + 1 agree
    found = agreement(np.array([[1, 1, 1], [0, 1, NAN], [0, 0, 1]]))
    assert found.pairwise_agreement == pytest.approx(4 / 7)


@given(matrices)
def test_alpha_is_its_definition(votes: NDArray[np.float64]) -> None:
    found, expected = agreement(votes).alpha, alpha_by_pairs(votes)
    assert found == (expected if expected is None else pytest.approx(expected))


@given(matrices, st.randoms(use_true_random=False))
def test_neither_order_nor_names_matter(votes: NDArray[np.float64], random) -> None:  # type: ignore[no-untyped-def]
    rows, raters = list(range(votes.shape[0])), list(range(votes.shape[1]))
    random.shuffle(rows)
    random.shuffle(raters)
    shuffled = 7 - votes[np.ix_(rows, raters)]
    first, second = agreement(votes), agreement(shuffled)
    assert (first.rows, first.raters) == (second.rows, second.raters)
    assert (first.alpha is None) == (second.alpha is None)
    assert (first.alpha or 0) == pytest.approx(second.alpha or 0)


def test_no_vote_to_compare_is_no_figure() -> None:
    found = agreement(np.array([[1, NAN], [NAN, 0], [NAN, NAN]]))
    assert (found.alpha, found.alpha_low, found.pairwise_agreement, found.raters, found.rows) == (None, None, None, 0, 0)


def test_where_nobody_could_disagree_alpha_is_undefined() -> None:
    found = agreement(np.zeros((5, 3)))
    assert (found.alpha, found.alpha_low, found.alpha_high, found.pairwise_agreement) == (None, None, None, 1.0)


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="rows x raters"):
        agreement(np.array([1.0, 0.0]))


def test_the_interval_is_the_same_each_time() -> None:
    votes = np.array(FOUR_RATERS_WITH_GAPS).T
    assert agreement(votes) == agreement(votes)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    # Two raters tell a fair coin and err in 10%: they differ in 2 * 0.1 * 0.9 = 18%, by chance in 50%, so alpha is 1 - 0.18 / 0.5.
    random, truth, inside = np.random.default_rng(1), 0.64, 0
    for _ in range(200):
        coins = random.integers(0, 2, size=(150, 1))
        found = agreement((coins ^ (random.random((150, 2)) < 0.1)).astype(float))
        assert found.alpha_low is not None
        assert found.alpha_high is not None
        inside += found.alpha_low <= truth <= found.alpha_high
    assert 0.90 <= inside / 200 <= 0.985
