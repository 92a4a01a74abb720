"""Which split a row belongs to: official splits are kept, the rest is decided by a hash of the family.

The hash makes the decision the same on every machine and leaves everybody in place when rows are added. What it leaves to
chance is how many of a small group (say, the positives of one source in one language) fall into test: groups that chance
leaves short are topped up, a family larger than a split's share is not left to chance at all, and what was published before
stays where it was.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.settings import MixtureSettings
from data_prep.table import SPLITS

TRAIN, VALIDATION, TEST = (SPLITS[::-1].index(split) for split in SPLITS)  # ranks: the lowest that a family has wins
UNASSIGNED = len(SPLITS)
_RANKS = {split: rank for rank, split in enumerate(SPLITS[::-1])}
_GROUP = ["source", "language"]


def claims(rows: pd.DataFrame, previous: Mapping[str, str]) -> NDArray[np.int64]:
    """Per row, the rank of the split that it claims for its family, UNASSIGNED if none: its official one, or test.

    A row without an official split that was published as a test row, says `previous`, is one for good: figures were measured on it.
    """
    official = rows["official"].to_numpy(dtype=np.int64)
    return np.where((official == UNASSIGNED) & (rows["id"].map(previous) == SPLITS[-1]).to_numpy(), TEST, official)


def assign_splits(rows: pd.DataFrame, heads: Sequence[str], mixture: MixtureSettings, previous: Mapping[str, str]) -> pd.DataFrame:
    """Give every row the `split` of its family, families whole.

    A family with an official or formerly published test row is a test family, else one with an official validation row is a
    validation family, and so on. One without an official row stays in the split where `previous` has it, else goes where its
    hash falls, but to train if it has more rows of a (source, language, head, label) than are to be in that split; and from
    train to test or validation where such a group has less than its share there, as far as families are small enough and
    one stays to train on.

    Parameters
    ----------
    rows
        With `family`, `official` (a rank), `id`, `source`, `language` and the heads.
    previous
        Split by row id, as published before.
    """
    family, names = pd.factorize(rows["family"])
    rank = _lowest(family, claims(rows, previous), len(names))
    known = rows["id"].map(previous).map(_RANKS).fillna(UNASSIGNED).astype(int)
    rank = np.where(rank == UNASSIGNED, _lowest(family, known.to_numpy(), len(names)), rank)
    movable = rank == UNASSIGNED
    position = np.array([_position(name, mixture.split_seed) if free else 1.0 for name, free in zip(names, movable, strict=True)])
    by_hash = np.where(
        position < mixture.test_fraction, TEST, np.where(position < mixture.test_fraction + mixture.validation_fraction, VALIDATION, TRAIN)
    )
    rank = np.where(movable, by_hash, rank)
    free = rows.assign(number=family)[(rows["official"] == UNASSIGNED).to_numpy()]
    groups = [np.unique(group["number"], return_counts=True) for head in heads for _, group in free.groupby([*_GROUP, head], observed=True)]
    shares = ((TEST, mixture.test_fraction), (VALIDATION, mixture.validation_fraction))
    for families, sizes in groups:
        for split, fraction in shares:
            too_large = families[sizes > fraction * sizes.sum()]
            rank[too_large[movable[too_large] & (rank[too_large] == split)]] = TRAIN
    for families, _ in groups:
        training = families[rank[families] == TRAIN]
        movable[training[np.argsort(position[training], kind="stable")[-1:]]] = False  # the one that would be the last to go
    for split, fraction in shares:
        for families, sizes in groups:
            _top_up(rank, movable, position, families, sizes, split, fraction)
    return rows.assign(split=np.array(SPLITS[::-1])[rank[family]])


def _top_up(
    rank: NDArray[np.int64],
    movable: NDArray[np.bool_],
    position: NDArray[np.float64],
    families: NDArray[np.int64],
    sizes: NDArray[np.int64],
    split: int,
    fraction: float,
) -> None:
    """Move families of a group from train to `split`, in the order of their hashes, while it is short of its share of rows.

    `families` are those of the group and `sizes` their rows in it; `rank`, the split of each family, is changed in place.
    """
    short = int(fraction * sizes.sum() + 0.5) - int(sizes[rank[families] == split].sum())
    places = np.flatnonzero(movable[families] & (rank[families] == TRAIN))
    for place in places[np.argsort(position[families[places]], kind="stable")]:
        if short <= 0:
            return
        if sizes[place] <= 2 * short:  # a larger one would take the split further past its share than it is short of it
            rank[families[place]] = split
            short -= sizes[place]


def drop_leaking(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take out rows whose official split is not their family's; an official test row is never one of them.

    Returns
    -------
    The rows that stay, and those taken out with the source of the row they would leak `against`.
    """
    rank = rows["split"].map(_RANKS).to_numpy()
    official = rows["official"].to_numpy()
    leaks = (official != UNASSIGNED) & (official != rank)
    kept, leaking = rows[~leaks], rows[leaks]
    # an official row of the split first; where there is none, rows published as test before decided
    decisive = kept[["official", "family", "source"]].sort_values("official", kind="stable").drop_duplicates("family")
    return kept, leaking.assign(against=leaking["family"].map(decisive.set_index("family")["source"]))


def without_training(rows: pd.DataFrame, heads: Sequence[str]) -> list[str]:
    """The groups (source, language, head = label) of which no row is in train, though no official split says so."""
    rows = rows.assign(free=rows["official"] == UNASSIGNED, trains=rows["split"] == SPLITS[0])
    groups = []
    for head in heads:
        found = rows.groupby([*_GROUP, head], observed=True)[["free", "trains"]].any()
        groups += [f"{source} {language} {head} = {label:.0f}" for source, language, label in found.index[found["free"] & ~found["trains"]]]
    return groups


def moved(rows: pd.DataFrame, previous: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """How many texts are in another split than `previous` has them: (before, now) -> texts."""
    before = rows["id"].map(previous)
    now = rows.assign(before=before)[(before.notna() & (before != rows["split"])).to_numpy()].drop_duplicates("normalised")
    return Counter(zip(now["before"], now["split"], strict=True))


def _position(family: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{family}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _lowest(family: NDArray[np.int64], rank: NDArray[np.integer[Any]], families: int) -> NDArray[np.int64]:
    lowest = np.full(families, UNASSIGNED, dtype=np.int64)
    np.minimum.at(lowest, family, rank)
    return lowest
