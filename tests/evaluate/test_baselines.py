"""The baselines: learnt from training rows, a keyword list blind to everything but words, a plain model to all but characters."""

import numpy as np
import pytest

from evaluate import baselines
from evaluate.baselines import keyword_flags, learn_keywords, ngram_scores, plain_text, words

POSTS = ["boom tea", "boom rain", "boom", "tea", "tea rain", "rare"]
LABELS = np.asarray([1, 1, 0, 0, 0, 1], dtype=np.int8)


def test_keywords_are_frequent_words_mostly_in_positives() -> None:
    assert learn_keywords([words(text) for text in POSTS], LABELS) == {"boom"}


def test_flags_contain_a_keyword() -> None:
    posts = [words(plain_text(text)) for text in ("b\u200bOOM now", "boomerang")]
    assert keyword_flags(posts, {"boom"}).tolist() == [True, False]


def test_characters_rank_words_that_training_never_showed() -> None:
    scores = ngram_scores(POSTS, LABELS, ["boomerang", "teapot", ""])
    assert scores is not None
    assert scores[0] > scores[2] > scores[1]


def test_one_class_teaches_nothing() -> None:
    assert ngram_scores(["boom", "rare"], np.asarray([1, 1], dtype=np.int8), ["boom"]) is None
    assert ngram_scores([], np.asarray([], dtype=np.int8), ["boom"]) is None


def test_the_rarer_label_of_a_large_language_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn without regard to labels, 20 of 1,000 rows hold none of the two positives nineteen times in twenty."""
    monkeypatch.setattr(baselines, "MOST_ROWS", 20)
    scores = ngram_scores(["tea"] * 998 + ["boom"] * 2, np.asarray([0] * 998 + [1] * 2, dtype=np.int8), ["boom", "tea"])
    assert scores is not None
    assert scores[0] > scores[1]


def test_a_large_language_teaches_a_sample_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    posts, labels = ["boom", "tea"] * 50, np.asarray([1, 0] * 50, dtype=np.int8)
    everything = ngram_scores(posts, labels, ["boom", "tea"])
    monkeypatch.setattr(baselines, "MOST_ROWS", 20)
    some = ngram_scores(posts, labels, ["boom", "tea"])
    assert everything is not None
    assert some is not None
    assert everything[0] > some[0] > some[1] > everything[1]  # fewer rows, a surer penalty
    again = ngram_scores(posts, labels, ["boom", "tea"])
    assert again is not None
    assert np.array_equal(some, again)
