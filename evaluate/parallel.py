"""Decision flips on parallel sentences: the same content in two languages should get the same decision.

Rows of one family and source in several languages with the same label are translations of each other where the source is parallel
text (as SIB-200 is). The content is held constant, so that a difference is the model's and not the data's. No config says which sources
are: a family may as well be a thread or an author. Only in parallel text have nearly all families as many rows in one language as in
the other.
"""

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluate.metrics import Rate, clustered_rate
from train.labels import MASKED

ALIGNED = 0.9  # of the families of parallel text: some translations are dropped as copies, or unite two families
FEWEST = 10  # families that a source must have aligned: a thread or two may happen to be


@dataclass(frozen=True)
class Flips:
    """How often a language's decision differs from the reference's on the same content, and which way."""

    head: str
    language: str
    reference: str
    pairs: int
    flips: Rate
    only_language_flagged: int
    only_reference_flagged: int


def parallel_languages(frame: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Every (source, language, other language) in which the source is parallel text.

    That is where, of its families with a row in either language, at least the share `ALIGNED` and the number `FEWEST` have equally many
    rows in both.

    Parameters
    ----------
    frame
        One line per row, with `family`, `source` and `language`.
    """
    found = set()
    for source, rows in frame.groupby("source"):
        table = rows.groupby(["family", "language"]).size().unstack(fill_value=0)
        for one, other in itertools.permutations(table, 2):
            either = table[(table[one] > 0) | (table[other] > 0)]
            aligned = either[one] == either[other]
            if aligned.sum() >= FEWEST and aligned.mean() >= ALIGNED:
                found.add((str(source), str(one), str(other)))
    return found


def count_flips(
    head: str, frame: pd.DataFrame, labels: npt.NDArray[np.int8], flagged: npt.NDArray[np.bool_], reference: str
) -> list[Flips]:
    """Compare every language's decisions with the reference language's, sentence by sentence.

    Parameters
    ----------
    frame
        One line per test row, with `family`, `source` and `language`.
    labels, flagged
        Shape (rows,) for this head.
    reference
        If none of the parallel sentences is in it, the language with the most of them is the reference.

    Returns
    -------
    One entry per other language, worst first; empty when no sentences are parallel.
    """
    parallel = parallel_languages(frame)
    if not parallel:
        return []
    rows = _of(frame.assign(label=labels, flagged=flagged)[labels != MASKED], {(source, language) for source, language, _ in parallel})
    # a family may hold near duplicates in one language: the first stands for them
    rows = rows.drop_duplicates(["source", "family", "label", "language"])
    spoken = rows.groupby(["source", "family", "label"])["language"].transform("nunique")
    rows = rows[spoken > 1]
    if rows.empty:
        return []
    counts = rows["language"].value_counts()
    if reference not in counts.index:
        reference = str(counts.index[0])
    sentences = ["source", "family", "label"]
    base = rows[rows["language"] == reference].set_index(sentences)["flagged"]
    others = rows[rows["language"] != reference].join(base.rename("expected"), on=sentences, how="inner")
    others = _of(others, {(source, language) for source, language, other in parallel if other == reference})
    found = []
    for language, pairs in others.groupby("language"):
        own, expected = pairs["flagged"].to_numpy(dtype=bool), pairs["expected"].to_numpy(dtype=bool)
        families = np.unique(pairs["family"].to_numpy(dtype=str), return_inverse=True)[1]
        flips = clustered_rate(own != expected, families)
        found.append(Flips(head, str(language), reference, len(pairs), flips, int((own & ~expected).sum()), int((~own & expected).sum())))
    return sorted(found, key=lambda one: -(one.flips.value or 0))


def _of(rows: pd.DataFrame, parts: Collection[tuple[str, str]]) -> pd.DataFrame:
    """The rows of some (source, language)."""
    return rows[np.asarray([part in parts for part in zip(rows["source"], rows["language"], strict=True)], dtype=bool)]
