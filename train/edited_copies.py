"""Training rows written differently, so that a model meets evasion and other people's keyboards while it learns."""

import numpy as np
from datasets import Dataset, concatenate_datasets

from data_prep.normaliser import normalise
from train.edits import Transformation, accented, dotted, leet, spaced, transliterated, with_emoji, without_nuktas

# By script, "" for any: edits that the normaliser does not undo.
_EDITS: dict[str, tuple[Transformation, ...]] = {
    "": (spaced, dotted, with_emoji, transliterated),
    "Latn": (leet, accented),
    "Cyrl": (accented,),
    "Deva": (without_nuktas,),
    "Guru": (without_nuktas,),
}


def with_edited_copies(table: Dataset, share: float, seed: int) -> Dataset:
    """The table and, of a share of its rows drawn at random, copies with an edited text and everything else as it is.

    Every copy has one edit, drawn among those of its script that leave a trace in the normalised text; a row without such has no copy.
    """
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(len(table))[: round(share * len(table))])
    chosen = table.select(drawn)
    edited = [_edited(text, script, rng) for text, script in zip(chosen["text"][:], chosen["script"][:], strict=True)]
    changed = [row for row, text in enumerate(edited) if text is not None]
    columns = {**chosen.select(changed).to_dict(), "text": [edited[row] for row in changed]}
    return concatenate_datasets([table, Dataset.from_dict(columns, features=table.features)])


def _edited(text: str, script: str, rng: np.random.Generator) -> str | None:
    edits = (*_EDITS[""], *_EDITS.get(script, ()))
    plain = normalise(text)
    for place in rng.permutation(len(edits)).tolist():
        edited: str = edits[place](text)
        if normalise(edited) != plain:
            return edited
    return None
