"""What the model must beat: flagging nothing, and a keyword list as moderation teams still use them."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_prep.normaliser import normalise

_WORD = re.compile(r"\w+")
MIN_COUNT = 3
MIN_PRECISION = 0.5
LONGEST_POST = 10_000  # characters; the normaliser takes time in the square of a word's length


def words(text: str) -> set[str]:
    """The distinct words of a text after normalisation, lower-cased."""
    return set(_WORD.findall(normalise(text[:LONGEST_POST]).lower()))


def learn_keywords(posts: Sequence[set[str]], labels: npt.NDArray[np.int8]) -> set[str]:
    """Words of training posts that are met at least `MIN_COUNT` times and mostly in positives.

    Parameters
    ----------
    posts, labels
        The `words` of judged training rows of one language and head, and their labels (0 or 1).
    """
    seen: Counter[str] = Counter()
    in_positives: Counter[str] = Counter()
    for post, label in zip(posts, labels, strict=True):
        seen.update(post)
        if label == 1:
            in_positives.update(post)
    return {word for word, count in seen.items() if count >= MIN_COUNT and in_positives[word] / count > MIN_PRECISION}


def keyword_flags(posts: Sequence[set[str]], keywords: set[str]) -> npt.NDArray[np.bool_]:
    """Which posts contain at least one keyword."""
    return np.asarray([bool(post & keywords) for post in posts], dtype=bool)
