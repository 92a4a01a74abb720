"""Which rows of a prepared table are trained on, validated with and tested."""

import hashlib

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from data_prep.command import UserError
from train.labels import MASKED, label_matrix


def judged_rows(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Indices of rows with at least one judged head."""
    return np.flatnonzero((labels != MASKED).any(axis=1))


def select_split(table: Dataset, split: str, heads: list[str]) -> Dataset:
    """A split's rows with at least one judged head.

    Raises
    ------
    UserError
        If there is none.
    """
    rows = table.select(np.flatnonzero(np.asarray(table["split"][:]) == split))
    rows = rows.select(judged_rows(label_matrix(rows, heads))) if len(rows) else rows
    if not len(rows):
        raise UserError(f"the mixture has no labelled {split} row: give its sources more rows or other split fractions")
    return rows


def leave_out(rows: Dataset, languages: list[str]) -> Dataset:
    """The rows that are not in the languages.

    Raises
    ------
    UserError
        If a language is in no row, or none is left.
    """
    spoken = np.asarray(rows["language"][:])
    if unknown := sorted(set(languages) - set(spoken.tolist())):
        raise UserError(f"leave_out names {unknown[0]}, which no row is in: the languages are {', '.join(sorted(set(spoken.tolist())))}")
    kept = ~np.isin(spoken, languages)
    if not kept.any():
        raise UserError("leave_out leaves no row to train on: name fewer languages")
    return rows.select(np.flatnonzero(kept)) if languages else rows


def take_fraction(rows: Dataset, fraction: float) -> Dataset:
    """The rows of a share of the families, chosen by a hash of the family: a larger share holds the rows of a smaller one.

    Raises
    ------
    UserError
        If the share is not within (0, 1], or so small that no row is left.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction={fraction} is no share: use more than 0 and at most 1")
    place = np.asarray([int(hashlib.sha256(family.encode()).hexdigest()[:8], 16) / 2**32 for family in rows["family"][:]])
    if not (place < fraction).any():
        raise UserError(f"fraction={fraction} leaves none of {len(rows)} rows: use a larger one")
    return rows.select(np.flatnonzero(place < fraction)) if fraction < 1 else rows
