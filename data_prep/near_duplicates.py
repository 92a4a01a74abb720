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

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # type: ignore[import-untyped]
from tqdm import tqdm

from data_prep.engine import Engine, Sequential

SHINGLE = 4  # characters: short enough for scripts without spaces, long enough that shared grams mean shared wording
SLOTS = 128  # values in a signature
RECALL = 0.99  # the least acceptable probability of proposing a pair exactly at the threshold
NEIGHBOURS = 8  # members of a bucket that each member is compared with, besides the first
PART = 50_000  # texts of one file of sketches, and of one task
BATCH = 1024  # texts sketched or pairs compared at once, which bounds the memory that they take

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]


def near_duplicate_pairs(
    texts: Sequence[str], threshold: float = 0.8, *, engine: Engine | None = None, folder: Path | None = None, seed: int = 42
) -> list[tuple[int, int]]:
    """Pairs of texts whose 4-gram sets have a Jaccard similarity of at least `threshold`.

    Not every such pair, but enough of them to hold each group together: the connected components are the
    groups of near duplicates. They are the same in every run, for every order of the texts and on every engine.

    Parameters
    ----------
    engine
        Where sketching and comparing run; None is this process.
    folder
        Where the sketches of PART texts at a time lie meanwhile, 700 bytes and 4 bytes a character for each text; all
        workers must see it. None is the system's folder for temporary files.
    seed
        Of the hash functions: another one misses other pairs.

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
    engine = engine or Sequential()
    rows = rows_per_band(threshold)
    pairs = []
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        earlier = first.setdefault(text, index)
        if earlier != index:
            pairs.append((earlier, index))
    unique = sorted(first)  # from here on the order of the texts plays no part
    group = np.arange(len(unique))
    with tempfile.TemporaryDirectory(prefix="near-duplicates-", dir=folder) as name:
        work = Path(name)
        parts = ((number, unique[start : start + PART]) for number, start in enumerate(range(0, len(unique), PART)))
        sketches = engine.map(partial(sketch_part, work=work, rows=rows, seed=seed), parts)
        for _ in tqdm(sketches, total=-(-len(unique) // PART), desc="sketching texts", unit=f" x {PART:,}", disable=None):
            pass
        shards = engine.workers if len(unique) > PART else 1
        for band in tqdm(range(SLOTS // rows), desc="comparing near duplicates", unit=" bands", disable=None):
            np.save(work / "group.npy", group)
            tasks = [(band, shard, shards) for shard in range(shards)]
            for verified in engine.map(partial(compare_shard, work=work, threshold=threshold), tasks):
                for i, j in verified.tolist():
                    if _union(group, i, j):
                        a, b = first[unique[i]], first[unique[j]]
                        pairs.append((min(a, b), max(a, b)))
            group = _flattened(group)
        _parts.cache_clear()  # or this process would keep the removed files' space
    return sorted(pairs)


def sketch_part(part: tuple[int, Sequence[str]], work: Path, rows: int, seed: int) -> None:
    """Write one part's characters, signatures and band keys below `work`, for `compare_shard` to map into memory."""
    number, texts = part
    codes, starts = _characters(texts)
    signatures = _signatures(texts, seed)
    slots = signatures.T
    keys = np.stack([_combine(slots[band * rows : (band + 1) * rows]) for band in range(SLOTS // rows)])
    for name, array in (("codes", codes), ("starts", starts), ("signatures", signatures), ("keys", keys)):
        np.save(work / f"{name}-{number:06}.npy", array)


def compare_shard(task: tuple[int, int, int], work: Path, threshold: float) -> Indices:
    """Verified pairs, shape (pairs, 2), among the texts that agree in one band: those buckets that fall into one shard.

    A bucket lies in one shard whole, so what is proposed does not depend on the number of shards.
    """
    band, shard, shards = task
    parts = _parts(work)
    group = np.load(work / "group.npy")
    here, there = parts.keys(band), parts.keys((band + 1) % parts.bands)
    # Three standard errors: an estimate below this belongs to a similar pair about once in a thousand.
    least_agreement = SLOTS * (threshold - 3 * sqrt(threshold * (1 - threshold) / SLOTS))
    verified: list[tuple[int, int]] = []
    members = np.flatnonzero(here % np.uint64(shards) == shard)
    for left, right in _proposals(members, here[members], there[members]):
        apart = group[left] != group[right]
        left, right = left[apart], right[apart]
        joined = False
        for start in range(0, len(left), BATCH):
            i_batch, j_batch = left[start : start + BATCH], right[start : start + BATCH]
            likely = (parts.signatures(i_batch) == parts.signatures(j_batch)).sum(axis=1) >= least_agreement
            for i, j in zip(i_batch[likely].tolist(), j_batch[likely].tolist(), strict=True):
                if _root(group, i) != _root(group, j) and jaccard(parts.text(i), parts.text(j)) >= threshold:
                    joined = _union(group, i, j)
                    verified.append((i, j))
        if joined:
            group = _flattened(group)
    return np.array(verified, dtype=np.int64).reshape(-1, 2)


@lru_cache(maxsize=1)  # a worker compares many bands
def _parts(work: Path) -> "_Parts":
    return _Parts(work)


class _Parts:
    """What `sketch_part` wrote, mapped into memory: only what is looked at is read."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._codes = self._load("codes")
        self._starts = self._load("starts")
        self._signatures = self._load("signatures")
        self._keys = self._load("keys")
        self.bands = len(self._keys[0]) if self._keys else 1

    def _load(self, name: str) -> list[NDArray[Any]]:
        return [np.load(path, mmap_mode="r") for path in sorted(self._work.glob(f"{name}-*.npy"))]

    def keys(self, band: int) -> Hashes:
        return np.concatenate([part[band] for part in self._keys]) if self._keys else np.empty(0, dtype=np.uint64)

    def signatures(self, indices: Indices) -> Signatures:
        """Shape (indices, SLOTS)."""
        gathered = np.empty((len(indices), SLOTS), dtype=np.uint32)
        number = indices // PART
        for part in np.unique(number):
            chosen = number == part
            gathered[chosen] = self._signatures[part][indices[chosen] - part * PART]
        return gathered

    def text(self, index: int) -> str:
        part, place = divmod(index, PART)
        start, end = self._starts[part][place : place + 2]
        return self._codes[part][start:end].tobytes().decode("utf-32-le", "surrogatepass")


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

    Raises
    ------
    ValueError
        If the threshold is not between 0.5 and 1.

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


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All texts' code points one after the other, and the places (one more than texts) where each text's begin."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes, np.cumsum([0, *map(len, texts)], dtype=np.int64)


def _signatures(texts: Sequence[str], seed: int) -> Signatures:
    """MinHash signatures, shape (texts, SLOTS)."""
    signatures = np.empty((len(texts), SLOTS), dtype=np.uint32)
    for start in range(0, len(texts), BATCH):
        hashes = _gram_hashes(texts[start : start + BATCH])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(*hashes, num_perm=SLOTS, seed=seed)
        signatures[start : start + BATCH] = np.array(matrix.to_rows(), dtype=np.uint32)
    return signatures


def _gram_hashes(texts: Sequence[str]) -> tuple[Hashes, Hashes]:
    """The hashes of all texts' 4-grams one after the other, and the offsets (one more than texts) where each text's begin."""
    codes, starts = _characters([text.ljust(SHINGLE, "\0") for text in texts])
    windows = len(codes) - SHINGLE + 1
    hashes = _combine(codes[place : place + windows] for place in range(SHINGLE))
    inside = np.ones(len(codes), dtype=bool)
    for place in range(1, SHINGLE):  # windows that begin this close to a text's end reach into the next text
        inside[starts[1:] - place] = False
    offsets = (starts - np.arange(len(starts)) * (SHINGLE - 1)).astype(np.uint64)
    return hashes[inside[:windows]], offsets


def _combine(columns: Iterable[NDArray[np.uint32]]) -> Hashes:
    """One 64-bit hash per position of equally long columns."""
    total: Hashes = np.zeros(1, dtype=np.uint64)
    for column in columns:
        total = (total ^ column) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(32)
    return total


def _proposals(members: Indices, here: Hashes, there: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of members whose signatures agree in a band (`here`), in batches of at most one pair per member.

    In a bucket each member is paired with the first and with the next `NEIGHBOURS`, which is every pair of
    a small bucket and stays linear in a huge one. Members are ordered by the hash of the next band (`there`), then
    by text: those that agree there too, or begin alike, stand side by side, and in every band it is others.
    """
    order = np.lexsort((there, here))
    bucket, members = here[order], members[order]
    begins = np.ones(len(bucket), dtype=bool)
    begins[1:] = bucket[1:] != bucket[:-1]
    first = members[np.maximum.accumulate(np.where(begins, np.arange(len(bucket)), 0))]
    yield first[~begins], members[~begins]
    for distance in range(1, NEIGHBOURS + 1):
        together = (bucket[distance:] == bucket[:-distance]) & ~begins[:-distance]
        yield members[:-distance][together], members[distance:][together]


def _union(group: Indices, i: int, j: int) -> bool:
    """Join two members' groups; False if they were one."""
    root, other = _root(group, i), _root(group, j)
    group[other] = root
    return root != other


def _root(group: Indices, member: int) -> int:
    while group[member] != member:
        group[member] = group[group[member]]
        member = int(group[member])
    return member


def _flattened(group: Indices) -> Indices:
    """Every member points at its root."""
    while (group != group[group]).any():
        group = group[group]
    return group
