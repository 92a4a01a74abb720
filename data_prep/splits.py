"""Which split a row belongs to: official splits are kept, the rest is decided by a hash of the family.

The hash makes the decision the same on every machine and leaves everybody in place when rows are added. What it leaves to
chance is how many of a small group (say, the positives of one source in one language) fall into test: groups that chance
leaves short are topped up, and what was published before stays where it was.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.settings import MixtureSettings
from data_prep.table import SPLITS

TRAIN, VALIDATION, TEST = (SPLITS[::-1].index(split) for split in SPLITS)  # ranks: the lowest that a family has wins
UNASSIGNED = len(SPLITS)


def assign_splits(rows: pd.DataFrame, heads: Sequence[str], mixture: MixtureSettings, previous: Mapping[str, str]) -> pd.DataFrame:
    """Give every row the `split` of its family, families whole.

    A family with an official test row is a test family, else one with an official validation row is a validation family,
    and so on. One without an official row stays in the split where `previous` has it, else goes where its hash falls, and
    from train to test or validation where a (source, language, head, label) has less than its share there.

    Parameters
    ----------
    rows
        With `family`, `official` (a rank), `id`, `source`, `language` and the heads.
    previous
        Split by row id, as published before.
    """
    family, names = pd.factorize(rows["family"])
    rank = _lowest(family, rows["official"].to_numpy(), len(names))
    known = rows["id"].map(previous).map({split: SPLITS[::-1].index(split) for split in SPLITS}).fillna(UNASSIGNED).astype(int)
    rank = np.where(rank == UNASSIGNED, _lowest(family, known.to_numpy(), len(names)), rank)
    movable = rank == UNASSIGNED
    position = np.array([_position(name, mixture.split_seed) if free else 1.0 for name, free in zip(names, movable, strict=True)])
    by_hash = np.where(
        position < mixture.test_fraction, TEST, np.where(position < mixture.test_fraction + mixture.validation_fraction, VALIDATION, TRAIN)
    )
    rank = np.where(movable, by_hash, rank)
    free = rows[(rows["official"] == UNASSIGNED).to_numpy()]
    for split, fraction in ((TEST, mixture.test_fraction), (VALIDATION, mixture.validation_fraction)):
        for head in heads:
            for _, stratum in free.groupby(["source", "language", head], observed=True):
                _top_up(rank, movable, position, family[rows.index.get_indexer(stratum.index)], split, fraction)
    return rows.assign(split=np.array(SPLITS[::-1])[rank[family]])


def _top_up(
    rank: NDArray[np.int64],
    movable: NDArray[np.bool_],
    position: NDArray[np.float64],
    stratum: NDArray[np.int64],
    split: int,
    fraction: float,
) -> None:
    """Move families of a stratum from train to `split`, in the order of their hashes, until its share of rows is there.

    `stratum` holds the family of each of its rows; `rank`, the split of each family, is changed in place.
    """
    short = int(fraction * len(stratum) + 0.5) - int((rank[stratum] == split).sum())
    if short <= 0:
        return
    families, sizes = np.unique(stratum[movable[stratum] & (rank[stratum] == TRAIN)], return_counts=True)
    order = np.argsort(position[families], kind="stable")
    needed = np.searchsorted(np.cumsum(sizes[order]), short) + 1
    rank[families[order[:needed]]] = split


def drop_leaking(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take out rows whose official split is not their family's; an official test row is never one of them.

    Returns
    -------
    The rows that stay, and those taken out with the source of the row they would leak `against`.
    """
    rank = rows["split"].map({split: SPLITS[::-1].index(split) for split in SPLITS}).to_numpy()
    official = rows["official"].to_numpy()
    leaks = (official != UNASSIGNED) & (official != rank)
    decisive = rows[official == rank].drop_duplicates("family").set_index("family")["source"]
    leaking = rows[leaks]
    return rows[~leaks], leaking.assign(against=leaking["family"].map(decisive))


def _position(family: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{family}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _lowest(family: NDArray[np.int64], rank: NDArray[np.integer[Any]], families: int) -> NDArray[np.int64]:
    lowest = np.full(families, UNASSIGNED, dtype=np.int64)
    np.minimum.at(lowest, family, rank)
    return lowest
