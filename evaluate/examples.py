"""Posts that a report shows: the most confident errors, and those whose decision changed; masked unless the settings show them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.inspect import mask_text
from evaluate.changes import Comparison
from evaluate.escaping import excerpt
from evaluate.explanations import Piece
from evaluate.predictions import Scored
from train.labels import MASKED

HEAVIEST = 3  # words that are named in words
LEVELS = (0.25, 0.5, 0.75)  # of the heaviest piece's weight: where the next shade begins


def worst_errors(scored: Scored) -> list[tuple[int, int]]:
    """Row and head of the most confident error of each language and head, per head the most confident first."""
    found = []
    languages = np.asarray(scored.rows["language"][:])
    for column in range(len(scored.heads)):
        truth = scored.labels[:, column]
        wrong = np.flatnonzero((truth != MASKED) & (scored.flagged[:, column] != (truth == 1)))
        confidence = np.abs(scored.probabilities[wrong, column] - (truth[wrong] == 1))
        worst_first = wrong[np.argsort(-confidence, kind="stable")]
        _, first = np.unique(languages[worst_first], return_index=True)  # the worst of each language
        found += [(int(row), column) for row in worst_first[np.sort(first)]]
    return found


def error_examples(
    scored: Scored, explanations: Mapping[tuple[int, int], Sequence[Piece]], show_text: bool, most: int
) -> list[dict[str, Any]]:
    """The most confident errors for the page; `first` marks the `most` of each head that it shows at once."""
    shown: dict[int, int] = {}
    examples = []
    for row, column in worst_errors(scored):
        shown[column] = shown.get(column, 0) + 1
        what = "missed" if scored.labels[row, column] == 1 else "wrongly flagged"
        example = _example(scored, row, column, what, show_text)
        example |= {"first": shown[column] <= most, **_weighed(explanations.get((row, column), ()), not show_text)}
        examples.append(example)
    return examples


def changed_examples(scored: Scored, comparison: Comparison | None, show_text: bool) -> list[dict[str, Any]]:
    """Rows whose decision is newly wrong or newly right, for the page."""
    if comparison is None:
        return []
    return [
        _example(scored, row, scored.heads.index(head), change, show_text)
        for change, of_head in (("newly wrong", comparison.newly_wrong), ("newly right", comparison.newly_right))
        for head, rows in of_head.items()
        for row in rows
    ]


def _example(scored: Scored, row: int, column: int, what: str, show_text: bool) -> dict[str, Any]:
    post = scored.rows[row]
    return {
        "head": scored.heads[column],
        "language": post["language"],
        "what": what,
        "probability": float(scored.probabilities[row, column]),
        "hard_negative": post["hard_negative"],
        "text": excerpt(post["text"]) if show_text else excerpt(mask_text(post["text"][:1000])),
        "pieces": [],
        "heaviest": [],
    }


def _weighed(pieces: Sequence[Piece], masked: bool) -> dict[str, Any]:
    """The post in pieces with a shade each, `up` where it speaks for a flag and `down` where against, and the heaviest words."""
    if not pieces:
        return {}
    heaviest = max(abs(piece.weight) for piece in pieces) or 1.0
    shades = [sum(abs(piece.weight) / heaviest > level for level in LEVELS) for piece in pieces]
    return {
        "pieces": [
            (*_apart(piece.shown(masked)), f"{'up' if piece.weight > 0 else 'down'}{shade}" if shade else "")
            for piece, shade in zip(pieces, shades, strict=True)
        ],
        "heaviest": [
            (piece.shown(masked).strip(), piece.weight) for piece in sorted(pieces, key=lambda piece: -abs(piece.weight))[:HEAVIEST]
        ],
    }


def _apart(text: str) -> tuple[str, str]:
    """The space in front of a word, and the word."""
    word = text.lstrip()
    return text[: len(text) - len(word)], word
