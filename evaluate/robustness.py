"""Does a decision survive when the same post is written differently? Edited test rows against themselves.

Every edit leaves a person's reading nearly as it was, so the label stays; what changes is the model's. Some are how honest people
type, some are how posts slip past filters: a flip of an allowed post is as bad as a missed one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluate.metrics import Estimate, Rate, clustered_rate
from evaluate.predictions import Scored, probabilities_of
from evaluate.significance import paired_difference
from train import edits
from train.edits import Transformation
from train.labels import MASKED

LONGEST = 2000  # characters: longer posts are not drawn, because each would cost as much as many others
ALL = ""  # every language, or every edit

# By name the edit of each script, "" for any script; a language of its own comes before its script.
PERTURBATIONS: Mapping[str, Mapping[str, Transformation]] = {
    "homoglyphs": {"Latn": edits.latin_lookalikes, "Cyrl": edits.cyrillic_lookalikes},
    "zero-width characters": {"": edits.zero_width},
    "spaced letters": {"": edits.spaced},
    "digits for letters": {"Latn": edits.leet},
    "repeated letters": {"": edits.repeated},
    "emoji": {"": edits.with_emoji},
    "diacritics": {
        "Arab": edits.with_vowel_signs, "Latn": edits.accented, "Cyrl": edits.accented,
        "Deva": edits.without_nuktas, "Guru": edits.without_nuktas,
    },
    "letter variants": {"Arab": edits.other_keyboard, "ur-Latn": edits.other_spelling, "Latn": edits.styled},
    "transliteration": {"": edits.transliterated},
    "code-switching": {"en": edits.with_urdu_tags, "": edits.with_english_tags},
}  # fmt: skip


@dataclass(frozen=True)
class Perturbed:
    """One head under one edit in one language (`ALL`: over all of them), on posts that the edit changes.

    `recall_loss` is the share of positives that are no longer flagged less that of those that now are; `fpr_rise` is the share of
    negatives that are now flagged less that of those no longer. Both compare a post with itself.
    """

    head: str
    edit: str
    language: str
    rows: int
    flips: Rate
    positives: int
    recall_loss: Estimate
    negatives: int
    fpr_rise: Estimate


def edit_for(name: str, language: str, script: str) -> Transformation | None:
    """The edit of this name for a post; None where there is none."""
    of_name = PERTURBATIONS[name]
    return of_name.get(language) or of_name.get(script) or of_name.get("")


def draw_rows(scored: Scored, most: int) -> npt.NDArray[np.int64]:
    """At most `most` positives and as many negatives of every language and head, spread evenly over its families, one of each."""
    languages = np.asarray(scored.rows["language"][:])
    families = np.asarray(scored.rows["family"][:])
    short = np.asarray([len(text) <= LONGEST for text in scored.rows["text"][:]])
    chosen: set[int] = set()
    for language in np.unique(languages):
        for column in range(len(scored.heads)):
            for label in (0, 1):
                rows = np.flatnonzero((languages == language) & short & (scored.labels[:, column] == label))
                rows = rows[np.unique(families[rows], return_index=True)[1]]
                chosen |= set(rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)].tolist())
    return np.asarray(sorted(chosen), dtype=np.int64)


def measure_robustness(scored: Scored, most: int) -> list[Perturbed]:
    """Edit a sample of test rows in every way, ask the artifact again, and count what changed.

    Returns
    -------
    One entry per head, edit and language, and for `ALL` edits or languages together; in the order of `PERTURBATIONS`.
    """
    assert scored.classifier is not None
    rows = draw_rows(scored, most)
    posts = scored.rows.select(rows)
    texts, languages, scripts = posts["text"][:], posts["language"][:], posts["script"][:]
    edited: list[str] = []
    of_row: list[int] = []
    of_edit: list[str] = []
    for name in PERTURBATIONS:
        for place, (text, language, script) in enumerate(zip(texts, languages, scripts, strict=True)):
            edit = edit_for(name, language, script)
            if edit is not None and (written := edit(text)) != text:
                edited.append(written)
                of_row.append(place)
                of_edit.append(name)
    if not edited:
        return []
    places = np.asarray(of_row)
    spoken = np.asarray(languages)[places]
    probabilities = probabilities_of(scored.classifier, scored.policy, scored.heads, edited, spoken.tolist(), "perturbing")
    found = []
    for column, head in enumerate(scored.heads):
        thresholds = np.asarray([scored.policy.heads[head].threshold_of(language) for language in spoken])
        after = probabilities[:, column] >= thresholds
        before = scored.flagged[rows[places], column]
        found += compare_decisions(head, before, after, scored.labels[rows[places], column], np.asarray(of_edit), spoken, places)
    return found


def compare_decisions(
    head: str,
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int8],
    names: npt.NDArray[np.str_],
    languages: npt.NDArray[np.str_],
    posts: npt.NDArray[np.int64],
) -> list[Perturbed]:
    """Count flips in every language and under every edit, and over all of either.

    Parameters
    ----------
    before, after, truth, names, languages, posts
        Shape (edited posts,): decisions on the post as it was and as it was edited, label, the edit's name, the language, and the
        number of the post, by which edits of the same post are known to be no independent evidence.
    """
    judged = truth != MASKED
    found = []
    for name in (ALL, *_present(names, PERTURBATIONS)):
        for language in (ALL, *sorted(set(languages.tolist()))):
            of_cell = judged & ((names == name) | (name == ALL)) & ((languages == language) | (language == ALL))
            if not of_cell.any():
                continue
            positive, negative = of_cell & (truth == 1), of_cell & (truth == 0)
            found.append(
                Perturbed(
                    head=head,
                    edit=name,
                    language=language,
                    rows=int(of_cell.sum()),
                    flips=clustered_rate((before != after)[of_cell], posts[of_cell]),
                    positives=int(positive.sum()),
                    recall_loss=paired_difference((before & ~after)[positive], (~before & after)[positive], posts[positive]),
                    negatives=int(negative.sum()),
                    fpr_rise=paired_difference((~before & after)[negative], (before & ~after)[negative], posts[negative]),
                )
            )
    return found


def _present(names: npt.NDArray[np.str_], known: Mapping[str, object]) -> Sequence[str]:
    there = set(names.tolist())
    return [name for name in known if name in there]
