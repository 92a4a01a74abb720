"""Decision flips on parallel sentences: the same content in two languages should get the same decision.

Rows of one family and source in several languages with the same label are translations of each other (as in SIB-200).
The content is held constant, so that a difference is the model's and not the data's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluate.metrics import Rate, clustered_rate
from train.labels import MASKED


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
    rows = frame.assign(label=labels, flagged=flagged)[labels != MASKED]
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
    found = []
    for language, pairs in others.groupby("language"):
        own, expected = pairs["flagged"].to_numpy(dtype=bool), pairs["expected"].to_numpy(dtype=bool)
        families = pairs["family"].astype("category").cat.codes.to_numpy(dtype=np.int64)
        flips = clustered_rate(own != expected, families)
        found.append(Flips(head, str(language), reference, len(pairs), flips, int((own & ~expected).sum()), int((~own & expected).sum())))
    return sorted(found, key=lambda one: -(one.flips.value or 0))
