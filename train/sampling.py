"""Which rows an epoch draws and how they are batched: by length and token budget, not by row count."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from torch.utils.data import Sampler

from data_prep.command import UserError
from train.labels import MASKED
from train.settings import SamplingSettings

Indices = npt.NDArray[np.int64]
Membership = npt.NDArray[np.float64] | csr_array[np.float64, tuple[int, int]]  # shape (rows, groups), 1 or 0


def draw_epoch(
    sources: npt.NDArray[np.str_], positive: npt.NDArray[np.bool_], max_negatives: int | None, rng: np.random.Generator
) -> Indices:
    """Row indices of one epoch: every row with a positive label, and per source at most `max_negatives` others.

    Large sources of negatives would otherwise drown the small ones; they are drawn anew each epoch, so
    none is lost over a training run.
    """
    drawn = [np.flatnonzero(positive)]
    for source in np.unique(sources):
        negatives = np.flatnonzero((sources == source) & ~positive)
        if max_negatives is not None and len(negatives) > max_negatives:
            negatives = rng.choice(negatives, max_negatives, replace=False)
        drawn.append(negatives)
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def expected_copies(groups: Sequence[tuple[Membership, float]], max_repeats: float, total: float | None = None) -> npt.NDArray[np.float64]:
    """How often an epoch should see each row, so that each group's share follows its size to the power of alpha.

    A row's weight is the product, over the ways of grouping, of n^(alpha - 1) with n the rows of its group (Conneau et al. 2020
    sample languages so); a row in several groups has the mean of theirs. The weights are scaled to `total`, and what the
    cap takes from some rows goes to the others.

    Parameters
    ----------
    groups
        Per way of grouping the memberships, shape (rows, groups), 1 or 0, and its alpha.
    total
        The sum of the copies; by default the number of rows.

    >>> membership = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]])
    >>> expected_copies([(membership, 0.0)], max_repeats=4).tolist()  # both groups alike: 2.5 rows each
    [0.625, 0.625, 0.625, 0.625, 2.5]
    >>> expected_copies([(membership, 0.0)], max_repeats=2).tolist()
    [0.75, 0.75, 0.75, 0.75, 2.0]
    """
    rows = groups[0][0].shape[0]
    weights = np.ones(rows)
    for membership, alpha in groups:
        sizes = np.maximum(membership.sum(axis=0), 1)
        weights *= (membership @ sizes ** (alpha - 1)) / np.maximum(membership.sum(axis=1), 1)
    copies = np.zeros(rows)
    free = np.ones(rows, dtype=bool)
    left = float(min(rows if total is None else total, rows * max_repeats))
    while free.any():
        copies[free] = weights[free] / weights[free].sum() * left
        over = free & (copies > max_repeats)
        if not over.any():
            break
        copies[over] = max_repeats
        left -= max_repeats * over.sum()
        free &= ~over
    return copies


def batch_by_tokens(indices: Indices, lengths: Indices, tokens_per_batch: int) -> list[list[int]]:
    """Consecutive indices in batches whose padded size (rows x longest row) stays within the budget.

    A row longer than the budget gets a batch of its own.

    >>> batch_by_tokens(np.array([0, 1, 2]), np.array([5, 5, 9]), 18)
    [[0, 1], [2]]
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for index in indices:
        longest = max(longest, int(lengths[index]))
        if batch and longest * (len(batch) + 1) > tokens_per_batch:
            batches.append(batch)
            batch, longest = [], int(lengths[index])
        batch.append(int(index))
    if batch:
        batches.append(batch)
    return batches


class LengthBucketedBatches(Sampler[list[int]]):
    """Training batches of similar length in random order, different each epoch, the same for the same seed.

    Every epoch has as many batches as the first, rounded up to a multiple of `multiple_of` (batches in an optimiser step,
    over all processes): `transformers.Trainer` plans its steps once, and processes wait for each other. Epochs that would
    have more leave out random ones, epochs with fewer repeat random ones; the difference is a few.

    Raises
    ------
    UserError
        If `max_repeats` is below 1, so that the rows could not fill an epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        sources: Sequence[str],
        languages: Sequence[str],
        labels: npt.NDArray[np.int8],
        *,
        settings: SamplingSettings,
        seed: int,
        multiple_of: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.sources = np.asarray(sources)
        self.positive = (labels == 1).any(axis=1)
        if settings.max_repeats < 1:
            raise UserError(f"sampling.max_repeats={settings.max_repeats} leaves rows out: use 1 or more")
        self.settings = settings
        alphas = (settings.language_alpha, settings.source_alpha, settings.head_alpha)
        memberships = (_one_hot(languages), _one_hot(sources), (labels != MASKED).astype(np.float64))
        self.balance = [(membership, alpha) for membership, alpha in zip(memberships, alphas, strict=True) if alpha != 1]
        self.seed = seed
        self.epoch = 0
        self.length = -(-len(self._batches(0)) // multiple_of) * multiple_of

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches iteration yields; the data loader calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches(self.epoch)
        while len(batches) < self.length:
            batches += batches[: self.length - len(batches)]
        return iter(batches[: self.length])

    def draw(self, epoch: int) -> Indices:
        """The rows of an epoch, sorted: as many as the cap on negatives leaves, of which the balance repeats some and omits others."""
        return self._draw(np.random.default_rng((self.seed, epoch)))

    def _draw(self, rng: np.random.Generator) -> Indices:
        indices = draw_epoch(self.sources, self.positive, self.settings.max_negatives_per_source, rng)
        if not self.balance:
            return indices
        copies = expected_copies([(membership[indices], alpha) for membership, alpha in self.balance], self.settings.max_repeats)
        return np.repeat(indices, np.floor(copies + rng.random(len(copies))).astype(np.int64))

    def _batches(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, epoch))
        indices = self._draw(rng)
        # a little noise on the length mixes neighbours, so that batches differ between epochs
        order = np.argsort(self.lengths[indices] * rng.uniform(0.95, 1.05, len(indices)), kind="stable")
        batches = batch_by_tokens(indices[order], self.lengths, self.settings.tokens_per_batch)
        return [batches[position] for position in rng.permutation(len(batches))]


def _one_hot(names: Sequence[str]) -> Membership:
    values, codes = np.unique(np.asarray(names), return_inverse=True)
    return csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), len(values)))
