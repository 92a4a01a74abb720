"""Copies of a text are dropped; families are rows that must share one split; contradictions between near copies are masked.

A frame of rows (see `pipeline.row_frame`) holds what these decisions need, one line per row of the sources' tables.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.mapping import content_hash
from data_prep.splits import claims


def drop_copies(rows: pd.DataFrame, heads: Sequence[str], previous: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep one row per source, language and normalised text: that of the highest official split, then one judged, then the first.

    It has what the rows of that split judge together. Where they disagree about a head, the head is masked: nobody can learn,
    or be measured, from a text that its own source labels both ways. A copy in a lower split has no say about an official test row.

    Parameters
    ----------
    previous
        Split by row id, as published before (see `splits.claims`).

    Returns
    -------
    The rows kept, with the number of labels masked in `conflicts`, and the copies, with the id they repeat in `duplicate_of`.
    """
    copies = rows.groupby(["source", "language", "normalised"], sort=False, observed=True).ngroup().to_numpy()
    rank = claims(rows, previous)
    unjudged = rows[[*heads]].isna().all(axis=1).to_numpy()
    order = np.lexsort((np.arange(len(rows)), unjudged, rank, copies))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = copies[order[1:]] != copies[order[:-1]]
    best = order[begins][copies]  # per row, the place of the row kept for it
    together = np.where(rank == rank[best], copies, -1)
    rows = mask_contradictions(rows, heads, together)
    for head in heads:
        rows[head] = rows[head].fillna(rows[head].groupby(together).transform("max").where(together >= 0))
    is_kept = best == np.arange(len(rows))
    dropped = rows[~is_kept].assign(duplicate_of=rows["id"].to_numpy()[best[~is_kept]])
    return rows[is_kept], dropped


def mask_contradictions(rows: pd.DataFrame, heads: Sequence[str], group: NDArray[np.int64], mask: bool = True) -> pd.DataFrame:
    """Heads that rows of one group label both 0 and 1 lose their labels there; counted per row in `conflicts`.

    Parameters
    ----------
    group
        Per row, the number of its group; rows of group -1 are in none.
    mask
        False only counts.
    """
    rows = rows.copy()
    shifted = group + 1  # bincount wants no negative numbers; group 0 is then nobody's
    for head in heads:
        labels = rows[head].to_numpy()
        both = (np.bincount(shifted, labels == 0) > 0) & (np.bincount(shifted, labels == 1) > 0)
        both[0] = False
        contradicted = both[shifted] & ~np.isnan(labels)
        rows["conflicts"] += contradicted
        if mask:
            rows[head] = np.where(contradicted, np.nan, labels)
    return rows


def assign_families(rows: pd.DataFrame, near_duplicates: Sequence[tuple[int, int]], salt: str | None = None) -> pd.DataFrame:
    """Give every row its `family` (rows joined by a declared family or as near duplicates) and its `near` group.

    A family's name is the content hash of its smallest member, so it does not depend on the order of rows. A new row
    that joins two families into one can give them a new name.

    Parameters
    ----------
    near_duplicates
        Pairs of places in `rows`.
    """
    pairs = np.array(near_duplicates, dtype=np.int64).reshape(-1, 2)
    near = components(len(rows), pairs)
    declared, _ = pd.factorize(rows["declared_family"])
    members = np.flatnonzero(declared >= 0)
    first = pd.Series(members).groupby(declared[members]).transform("first").to_numpy()
    family = components(len(rows), np.concatenate([pairs, np.column_stack([first, members])]))
    smallest = rows["declared_family"].fillna(rows["id"]).groupby(family).min()
    key = [salt] if salt else []
    names = np.array([content_hash(*key, "family", name) for name in smallest], dtype=object)
    return rows.assign(near=near, family=names[family])


def near_copies(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Per row the number of its group of near duplicates within a split, or -1 if it has none.

    Rows of one declared family are no copies of each other, however alike: a source that pairs a post with its negation
    labels them differently on purpose.
    """
    groups = rows.groupby(["near", "split"], sort=False)
    number = groups.ngroup().to_numpy()
    declared, _ = pd.factorize(rows["declared_family"])
    of_one_family = (declared >= 0) & (groups["declared_family"].transform("nunique", dropna=False).to_numpy() == 1)
    alone = groups["near"].transform("size").to_numpy() == 1
    return np.where(alone | of_one_family, -1, number)


def components(size: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `size` members, the number of its group: `pairs`, shape (pairs, 2), say who belongs together."""
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]
