"""Near duplicates: texts that differ by a small edit, which an exact comparison misses and a split must not separate.

MinHash signatures propose pairs and the exact Jaccard similarity of the texts' 4-grams decides, so a
wrong proposal costs time and never makes a wrong pair. What can happen is that a pair is missed:

- A pair exactly at the threshold is proposed with the probability `recall_at` gives, 0.998 at the default
  threshold of 0.8 (21 bands of 6 slots) and 0.99995 at a similarity of 0.85, and then set aside about
  once in a thousand because its signatures agree too little.
- In a bucket of more than `NEIGHBOURS` + 1 texts not all pairs are compared. A template filled in many
  ways, each similar to few of the others, may keep some of those pairs apart (see `_proposals`).

Such a template is also what takes longest: just below the threshold, about 40 comparisons or 1 ms per text.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # type: ignore[import-untyped]
from tqdm import tqdm

SHINGLE = 4  # characters: short enough for scripts without spaces, long enough that shared grams mean shared wording
SLOTS = 128  # values in a signature
RECALL = 0.99  # the least acceptable probability of proposing a pair exactly at the threshold
NEIGHBOURS = 8  # members of a bucket that each member is compared with, besides the first
SEED = 42
BATCH = 1024  # texts sketched at once, which bounds the memory that long articles take

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]


def near_duplicate_pairs(texts: Sequence[str], threshold: float = 0.8) -> list[tuple[int, int]]:
    """Pairs of texts whose 4-gram sets have a Jaccard similarity of at least `threshold`.

    Not every such pair, but enough of them to hold each group together: the connected components are the
    groups of near duplicates. They are the same in every run and for every order of the texts.

    Returns
    -------
    Index pairs (i, j) with i < j, sorted, fewer than there are texts.

    Raises
    ------
    ValueError
        If the threshold is not between 0.5, below which texts are no near duplicates, and 1.

    >>> near_duplicate_pairs(["the march begins at noon", "peace", "the march begins at noon!", "peace"])
    [(0, 2), (1, 3)]
    """
    rows = rows_per_band(threshold)
    pairs = []
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        earlier = first.setdefault(text, index)
        if earlier != index:
            pairs.append((earlier, index))
    unique = sorted(first)  # from here on the order of the texts plays no part
    signatures = _signatures(unique)
    # Three standard errors: an estimate below this belongs to a similar pair about once in a thousand.
    least_agreement = SLOTS * (threshold - 3 * sqrt(threshold * (1 - threshold) / SLOTS))
    group = np.arange(len(unique))
    for band in tqdm(range(SLOTS // rows), desc="comparing near duplicates", unit=" bands", disable=None):
        for left, right in _proposals(signatures, band, rows):
            apart = group[left] != group[right]
            left, right = left[apart], right[apart]
            likely = _agreement(signatures, left, right) >= least_agreement
            joined = False
            for i, j in zip(left[likely].tolist(), right[likely].tolist(), strict=True):
                root, other = _root(group, i), _root(group, j)
                if root != other and jaccard(unique[i], unique[j]) >= threshold:
                    group[other] = root
                    joined = True
                    a, b = first[unique[i]], first[unique[j]]
                    pairs.append((min(a, b), max(a, b)))
            while joined and (group != group[group]).any():  # every member points at its root again
                group = group[group]
    return sorted(pairs)


def jaccard(a: str, b: str) -> float:
    """The share of the two texts' distinct 4-grams that both have; a shorter text is its own only gram.

    >>> jaccard("abcde", "abcdef"), jaccard("ab", "ab"), jaccard("ab", "abcd")
    (0.6666666666666666, 1.0, 0.0)
    """
    one, other = _shingles(a), _shingles(b)
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def rows_per_band(threshold: float) -> int:
    """The most slots a band can have, so the fewest false proposals, with `RECALL` still met at the threshold.

    >>> [rows_per_band(threshold) for threshold in (0.5, 0.7, 0.8, 0.9)]
    [3, 4, 6, 10]
    """
    if not 0.5 <= threshold <= 1:
        raise ValueError(f"a near-duplicate threshold lies between 0.5 and 1, not at {threshold}")
    return max(rows for rows in range(1, SLOTS + 1) if recall_at(threshold, rows) >= RECALL)


def recall_at(similarity: float, rows: int) -> float:
    """The S-curve: the probability that two texts of this Jaccard similarity agree in a whole band of `rows` slots.

    >>> [round(recall_at(similarity, 6), 4) for similarity in (0.3, 0.5, 0.7, 0.8, 0.85, 0.9)]
    [0.0152, 0.2816, 0.9278, 0.9983, 1.0, 1.0]
    """
    return 1 - (1 - similarity**rows) ** (SLOTS // rows)  # type: ignore[no-any-return]


@lru_cache(maxsize=4 * NEIGHBOURS)  # a bucket's first member is compared again and again, its neighbours soon
def _shingles(text: str) -> frozenset[str]:
    return frozenset({text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))})


def _signatures(texts: Sequence[str]) -> Signatures:
    """MinHash signatures, one column per text: one row per slot, as that is how they are read."""
    signatures = np.empty((SLOTS, len(texts)), dtype=np.uint32)
    for start in tqdm(range(0, len(texts), BATCH), desc="sketching texts", unit_scale=BATCH, unit=" texts", disable=None):
        batch = texts[start : start + BATCH]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(*_gram_hashes(batch), num_perm=SLOTS, seed=SEED)
        signatures[:, start : start + BATCH] = np.array(matrix.to_rows(), dtype=np.uint32).T
    return signatures


def _gram_hashes(texts: Sequence[str]) -> tuple[Hashes, Hashes]:
    """The hashes of all texts' 4-grams one after the other, and the offsets (one more than texts) where each text's begin."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    windows = len(codes) - SHINGLE + 1
    hashes = _combine(codes[place : place + windows] for place in range(SHINGLE))
    lengths = np.array([len(text) for text in padded], dtype=np.uint64)
    inside = np.ones(len(codes), dtype=bool)
    for place in range(1, SHINGLE):  # windows that begin this close to a text's end reach into the next text
        inside[np.cumsum(lengths) - np.uint64(place)] = False
    offsets = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(lengths - np.uint64(SHINGLE - 1))])
    return hashes[inside[:windows]], offsets


def _combine(columns: Iterable[NDArray[np.uint32]]) -> Hashes:
    """One 64-bit hash per position of equally long columns."""
    total: Hashes = np.zeros(1, dtype=np.uint64)
    for column in columns:
        total = (total ^ column) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(32)
    return total


def _proposals(signatures: Signatures, band: int, rows: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of texts whose signatures agree in one band, in batches of at most one pair per text.

    In a bucket each member is paired with the first and with the next `NEIGHBOURS`, which is every pair of
    a small bucket and stays linear in a huge one. Members are ordered by the hash of the next band, then
    by text: those that agree there too, or begin alike, stand side by side, and in every band it is others.
    """
    bands = SLOTS // rows
    here, there = (_combine(signatures[number * rows : (number + 1) * rows]) for number in (band, (band + 1) % bands))
    order = np.lexsort((there, here))
    bucket = here[order]
    begins = np.ones(len(bucket), dtype=bool)
    begins[1:] = bucket[1:] != bucket[:-1]
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(bucket)), 0))]
    yield first[~begins], order[~begins]
    for distance in range(1, NEIGHBOURS + 1):
        together = (bucket[distance:] == bucket[:-distance]) & ~begins[:-distance]
        yield order[:-distance][together], order[distance:][together]


def _agreement(signatures: Signatures, left: Indices, right: Indices) -> Indices:
    """For each pair, the number of slots in which the two signatures agree."""
    agreement = np.zeros(len(left), dtype=np.int64)
    for slot in signatures:
        agreement += slot[left] == slot[right]
    return agreement


def _root(group: Indices, member: int) -> int:
    while group[member] != member:
        group[member] = group[group[member]]
        member = int(group[member])
    return member
