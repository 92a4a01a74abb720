"""What the model must beat: flagging nothing, a keyword list as moderation teams still use them, and a plain model of characters."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from data_prep.normaliser import normalise

_WORD = re.compile(r"\w+")
MIN_COUNT = 3
MIN_PRECISION = 0.5
LONGEST_POST = 10_000  # characters; the normaliser takes time in the square of a word's length
LONGEST_NGRAM = 5  # characters
BUCKETS = 2**18  # that n-grams are hashed into, so that no vocabulary grows with the table
MOST_ROWS = 20_000  # that a plain model learns from, the rarer label's first: it takes seconds a language, whatever the table's size
WEAK_PENALTY = 10.0  # scikit-learn's C; its default of 1 holds back rows that are scaled to length 1


def plain_text(text: str) -> str:
    """What the baselines read of a post: normalised as for the model, lower-cased."""
    return normalise(text[:LONGEST_POST]).lower()


def words(text: str) -> set[str]:
    """The distinct words of a `plain_text`."""
    return set(_WORD.findall(text))


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


def ngram_scores(posts: Sequence[str], labels: npt.NDArray[np.int8], asked: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """How a plain model of characters ranks posts: logistic regression on TF-IDF of n-grams within words.

    Parameters
    ----------
    posts, labels
        The `plain_text` of judged training rows of one language and head, and their labels (0 or 1).
    asked
        The `plain_text` of the posts to rank.

    Returns
    -------
    Log odds, shape (asked,); None if the training rows do not show both classes.
    """
    if len(np.unique(labels)) < 2:
        return None
    if len(posts) > MOST_ROWS:
        rng = np.random.default_rng(0)
        rarer, commoner = sorted((rng.permutation(np.flatnonzero(labels == label)) for label in (0, 1)), key=len)
        rarer = rarer[: MOST_ROWS // 2]  # all of it where it is rare: a draw might hold none
        chosen = np.concatenate([rarer, commoner[: MOST_ROWS - len(rarer)]])
        posts, labels = [posts[row] for row in chosen], labels[chosen]
    model = make_pipeline(
        HashingVectorizer(analyzer="char_wb", ngram_range=(1, LONGEST_NGRAM), n_features=BUCKETS, alternate_sign=False, norm=None),
        TfidfTransformer(sublinear_tf=True),
        # of the solvers the one that is fast where columns outnumber rows by far
        LogisticRegression(C=WEAK_PENALTY, solver="liblinear", dual=True, max_iter=1_000, random_state=0),
    )
    return np.asarray(model.fit(posts, labels).decision_function(asked), dtype=np.float64)
