"""Batches by token budget, epochs that keep every positive, the same order for the same seed."""

from collections import Counter
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState, TrainingArguments

from data_prep.command import UserError
from train.labels import MASKED
from train.sampling import LengthBucketedBatches, batch_by_tokens, draw_epoch, expected_copies
from train.settings import SamplingSettings
from train.trainer import SamplerEpochs

LANGUAGES = ["en"] * 200 + ["ur"] * 90 + ["bal"] * 10
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


def sampler(seed: int = 3, cap: int | None = None, **changes: float) -> LengthBucketedBatches:
    rng = np.random.default_rng(0)
    lengths, sources = rng.integers(3, 50, 300).tolist(), rng.choice(["a", "b"], 300).tolist()
    settings = SamplingSettings(tokens_per_batch=200, max_negatives_per_source=cap, **changes)
    return LengthBucketedBatches(lengths, sources, LANGUAGES, np.zeros((300, 1), np.int8), settings=settings, seed=seed)


def test_epochs_differ_and_seeds_repeat() -> None:
    one, two, other = sampler(), sampler(), sampler(seed=4)
    assert list(one) == list(two) != list(other)
    two.set_epoch(1)
    assert list(one) != list(two)
    assert sorted(index for batch in one for index in batch) == list(range(300))


@pytest.mark.parametrize("step", [0, 7, 8, 11, 16])
def test_a_resumed_run_of_several_processes_knows_its_epoch(step: int) -> None:
    """By the steps that it made: what accelerate wraps the sampler in, to skip batches, does not hand an epoch on."""
    batches = sampler()
    per_epoch = len(batches) // 2
    assert per_epoch > 8
    arguments = SimpleNamespace(world_size=2, gradient_accumulation_steps=1)
    state = TrainerState(epoch=0, global_step=step * per_epoch // 8)  # in eighths of an epoch
    SamplerEpochs(batches).on_epoch_begin(cast(TrainingArguments, arguments), state, TrainerControl())
    assert batches.epoch == step // 8


def test_every_epoch_has_the_announced_number_of_batches() -> None:
    batches = sampler(cap=90)
    for epoch in range(6):
        batches.set_epoch(epoch)
        assert len(list(batches)) == len(batches)


def test_rows_of_a_batch_are_of_similar_length() -> None:
    batches = sampler()
    padding = sum(sum(batches.lengths[batch].max() - batches.lengths[batch]) for batch in batches)
    assert padding / batches.lengths.sum() < 0.15


def seen(alpha: float, max_repeats: float = 100) -> dict[str, float]:
    """Rows of each language in an epoch, as a mean over five epochs."""
    batches = sampler(language_alpha=alpha, max_repeats=max_repeats)
    counts: Counter[str] = Counter()
    for epoch in range(5):
        batches.set_epoch(epoch)
        counts.update(LANGUAGES[index] for batch in batches for index in batch)
    return {language: count / 5 for language, count in counts.items()}


def test_alpha_moves_shares_from_large_to_small_languages() -> None:
    assert seen(1) == {"en": 200, "ur": 90, "bal": 10}
    equal = seen(0)
    assert all(90 < count < 110 for count in equal.values()), equal
    between = seen(0.5)  # 300 rows in proportion to the roots 14.1, 9.5 and 3.2
    assert {language: round(count, -1) for language, count in between.items()} == {"en": 160, "ur": 110, "bal": 40}


def test_no_row_repeats_more_often_than_the_cap() -> None:
    assert seen(0, max_repeats=3)["bal"] == pytest.approx(30, abs=1)
    assert sum(seen(0, max_repeats=3).values()) == pytest.approx(300, rel=0.05)


def test_heads_and_sources_are_balanced_too() -> None:
    judged = np.asarray([[1, 0]] * 90 + [[0, 1]] * 10, dtype=float)
    copies = expected_copies([(judged, 0.0)], max_repeats=100)
    assert copies[:90].sum() == pytest.approx(50)
    assert copies[90:].sum() == pytest.approx(50)


def test_the_cap_on_negatives_comes_first_and_the_balance_keeps_its_number_of_rows() -> None:
    """300 rows of two sources, of which the cap leaves 2 x 40; the languages are balanced among those."""
    batches = sampler(cap=40, language_alpha=0.0, max_repeats=100)
    drawn = [batches.draw(epoch) for epoch in range(20)]
    assert np.mean([len(rows) for rows in drawn]) == pytest.approx(80, rel=0.05)
    assert all(len(np.unique(rows)) <= 80 for rows in drawn)
    shares = Counter(LANGUAGES[row] for rows in drawn for row in rows)
    # a language that the cap leaves without a row has no share in that epoch
    assert all(400 < count < 660 for count in shares.values()), shares
    assert sorted(row for batch in batches._batches(3) for row in batch) == sorted(drawn[3].tolist())


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_an_epoch_in_equal_numbers_of_batches(processes: int) -> None:
    """As accelerate divides them; what each sees in an epoch depends on seed and epoch alone."""
    rng = np.random.default_rng(0)
    settings = SamplingSettings(tokens_per_batch=200, language_alpha=0.5, head_alpha=0.5)
    labels = rng.choice([0, 1, MASKED], (300, 2)).astype(np.int8)
    labels[(labels == MASKED).all(axis=1)] = 0
    for epoch in (0, 4):
        batches = [
            LengthBucketedBatches(
                list(range(3, 33)) * 10,
                ["a"] * 300, LANGUAGES, labels, settings=settings, seed=1, multiple_of=processes,
            )
            for _ in range(processes + 1)
        ]  # fmt: skip
        for one in batches:
            one.set_epoch(epoch)
        shards = [list(BatchSamplerShard(batches[rank], processes, rank, even_batches=False)) for rank in range(processes)]
        assert len({len(shard) for shard in shards}) == 1
        assert [batch for together in zip(*shards, strict=True) for batch in together] == list(batches[-1])


def test_a_cap_on_repeats_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"max_repeats=0.5 leaves rows out: use 1 or more"):
        sampler(language_alpha=0.5, max_repeats=0.5)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.floats(0, 1),
    st.floats(1, 8),
    st.lists(st.integers(0, 2), min_size=60, max_size=60),
)
def test_copies_keep_the_total_and_the_cap(languages: list[int], alpha: float, cap: float, sources: list[int]) -> None:
    groups = [(np.eye(4)[languages], alpha), (np.eye(3)[sources[: len(languages)]], 0.5)]
    copies = expected_copies(groups, cap)
    assert copies.max() <= cap + 1e-9
    assert copies.sum() == pytest.approx(len(languages))
