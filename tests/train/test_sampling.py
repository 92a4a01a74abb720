"""Batches by token budget, epochs that keep every positive, the same order for the same seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.sampling import LengthBucketedBatches, batch_by_tokens, draw_epoch

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=80)


@given(LENGTHS, st.integers(2, 200))
def test_no_batch_exceeds_the_budget_and_no_row_is_lost(lengths: list[int], budget: int) -> None:
    batches = batch_by_tokens(np.arange(len(lengths)), np.asarray(lengths), budget)
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget for batch in batches)


def test_an_epoch_keeps_positives_and_caps_negatives_per_source() -> None:
    sources = np.asarray(["big"] * 100 + ["small"] * 10)
    positive = np.zeros(110, dtype=bool)
    positive[:20] = True
    first = draw_epoch(sources, positive, 30, np.random.default_rng(0))
    second = draw_epoch(sources, positive, 30, np.random.default_rng(1))
    assert set(range(20)) <= set(first.tolist())
    assert len(first) == 20 + 30 + 10
    assert set(first.tolist()) != set(second.tolist()), "negatives are drawn anew"


def sampler(seed: int = 3, cap: int | None = None) -> LengthBucketedBatches:
    rng = np.random.default_rng(0)
    lengths, sources = rng.integers(3, 50, 300).tolist(), rng.choice(["a", "b"], 300).tolist()
    return LengthBucketedBatches(lengths, sources, [False] * 300, tokens_per_batch=200, max_negatives_per_source=cap, seed=seed)


def test_epochs_differ_and_seeds_repeat() -> None:
    one, two, other = sampler(), sampler(), sampler(seed=4)
    assert list(one) == list(two) != list(other)
    two.set_epoch(1)
    assert list(one) != list(two)
    assert sorted(index for batch in one for index in batch) == list(range(300))


def test_every_epoch_has_the_announced_number_of_batches() -> None:
    batches = sampler(cap=90)
    for epoch in range(6):
        batches.set_epoch(epoch)
        assert len(list(batches)) == len(batches)


def test_rows_of_a_batch_are_of_similar_length() -> None:
    batches = sampler()
    padding = sum(sum(batches.lengths[batch].max() - batches.lengths[batch]) for batch in batches)
    assert padding / batches.lengths.sum() < 0.15
