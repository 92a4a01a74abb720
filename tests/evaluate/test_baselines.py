"""The keyword baseline: learnt from training rows, blind to everything but words."""

import numpy as np

from evaluate.baselines import keyword_flags, learn_keywords, words


def test_keywords_are_frequent_words_mostly_in_positives() -> None:
    posts = [words(text) for text in ["boom tea", "boom rain", "Boom!", "tea", "tea rain", "rare"]]
    labels = np.asarray([1, 1, 0, 0, 0, 1], dtype=np.int8)
    assert learn_keywords(posts, labels) == {"boom"}


def test_flags_contain_a_keyword() -> None:
    assert keyword_flags([words("b\u200boom now"), words("boomerang")], {"boom"}).tolist() == [True, False]
