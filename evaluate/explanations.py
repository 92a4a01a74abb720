"""Why a post got its score: which of its words the score hangs on, found by leaving each out.

Leave-one-out occlusion (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure") asks the shipped
graph itself and needs no gradients. It is a hint for a reviewer: words that only count together show little weight each.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evaluate.escaping import LONGEST, visible
from evaluate.predictions import Scored, artifact_logits

_PIECE = re.compile(r"\s*\S{1,20}")  # a word with the space before it; of what has no spaces, pieces
MOST_PIECES = 40  # of a post: more words are left out in groups


@dataclass(frozen=True)
class Piece:
    """A word, or some of them, and by how much the log-odds fall when the post goes without: above 0 it speaks for a flag."""

    text: str
    weight: float

    def shown(self, masked: bool) -> str:
        """The piece harmless to show; `masked` leaves the first letter of each word, as `mask_text` does."""
        if not masked:
            return visible(self.text)
        return re.sub(r"\S+", self._mask, self.text)

    def _mask(self, word: re.Match[str]) -> str:
        inside = word.start() == 0  # the piece goes on with a word that began before
        first = word[0][0]
        return ("•" if inside or not first.isprintable() else first) + "•" * (len(word[0]) - 1)


def pieces_of(text: str) -> list[str]:
    """What of a post is left out in turn; together they are the text's beginning, as much of it as a report shows.

    >>> pieces_of("so glad today")
    [' so', ' glad', ' today']
    """
    found = _PIECE.findall(f" {text[:LONGEST].strip()}")
    size = -(-len(found) // MOST_PIECES)
    return ["".join(found[start : start + size]) for start in range(0, len(found), size)] if found else []


def explain(scored: Scored, chosen: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[Piece]]:
    """The pieces of chosen posts with their weights.

    Parameters
    ----------
    chosen
        Row number of a test post, and number of the head that is to be explained.
    """
    assert scored.classifier is not None
    texts: list[str] = []
    languages: list[str] = []
    pieces = [pieces_of(scored.rows[row]["text"]) for row, _ in chosen]
    for (row, _), parts in zip(chosen, pieces, strict=True):
        post = scored.rows[row]
        # what is not shown stays, but no more of it than is shown: every word left out costs a post of this length
        rest = f" {post['text'].strip()}"[len("".join(parts)) :][:LONGEST]
        texts += ["".join([*parts[:at], *parts[at + 1 :], rest]) for at in range(len(parts))] + ["".join([*parts, rest])]
        languages += [post["language"]] * (len(parts) + 1)
    logits = artifact_logits(scored.classifier, texts, "explaining errors")  # and no probabilities: near 0 and 1 these hide what moves
    found = {}
    start = 0
    for (row, column), parts in zip(chosen, pieces, strict=True):
        odds = logits[start : start + len(parts) + 1, column] / scored.policy.heads[scored.heads[column]].of(languages[start]).temperature
        found[row, column] = [Piece(text, float(odds[-1] - without)) for text, without in zip(parts, odds[:-1], strict=True)]
        start += len(parts) + 1
    return found
