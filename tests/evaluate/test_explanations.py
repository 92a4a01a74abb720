"""Which words a score hangs on: the planted one, by exactly what the artifact says without it; and masked unless asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.inspect import mask_text
from data_prep.settings import to_settings
from evaluate.escaping import LONGEST
from evaluate.examples import error_examples, worst_errors
from evaluate.explanations import MOST_PIECES, Piece, explain, pieces_of
from evaluate.predictions import Scored, score
from evaluate.settings import EvaluateSettings
from train.labels import MASKED


@pytest.fixture
def scored(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> Scored:
    settings: EvaluateSettings = to_settings(compose_stage("evaluate", "release=tiny"), EvaluateSettings)
    settings.data_dir, settings.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    return score(settings)


@given(st.text(max_size=2 * LONGEST))
def test_pieces_are_the_beginning_of_a_text(text: str) -> None:
    pieces = pieces_of(text)
    assert "".join(pieces).strip() == text[:LONGEST].strip() or not text[:LONGEST].strip()
    assert len(pieces) <= MOST_PIECES


def test_words_are_pieces_and_long_ones_are_several() -> None:
    assert pieces_of("one two") == [" one", " two"]
    assert pieces_of("x" * 50) == [" " + "x" * 20, "x" * 20, "x" * 10]
    assert pieces_of("") == []
    assert len(pieces_of("word " * 200)) == MOST_PIECES


def test_masked_pieces_make_the_masked_text() -> None:
    text = "Down with हिन्दी 24 " + "x" * 45
    assert "".join(Piece(piece, 0.0).shown(masked=True) for piece in pieces_of(text)).strip() == mask_text(text)
    assert Piece("a\u202eb", 0.0).shown(masked=False) == "a\\u202eb"


def test_a_weight_is_what_the_artifact_says_without_the_word(scored: Scored) -> None:
    texts = scored.rows["text"][:]
    column = scored.heads.index("violence_glorification")
    row = next(row for row, text in enumerate(texts) if "zz" in text.split() and scored.labels[row, column] == 1)
    pieces = explain(scored, [(row, column)])[row, column]
    assert [piece.text.strip() for piece in pieces] == texts[row].split()
    assert max(pieces, key=lambda piece: piece.weight).text == " zz", "the word that tells the label"
    assert scored.classifier is not None
    without = " ".join(word for word in texts[row].split() if word != "zz")
    whole, rest = (float(scored.classifier.run([text])[0][0, column]) for text in (texts[row], without))
    temperature = scored.policy.heads["violence_glorification"].of(scored.rows[row]["language"]).temperature
    assert max(piece.weight for piece in pieces) == pytest.approx((whole - rest) / temperature, rel=1e-3)


def test_errors_are_the_worst_of_each_language_and_head(scored: Scored) -> None:
    scored.flagged[:] = scored.labels != 1  # everything that is judged is wrong
    chosen = worst_errors(scored)
    languages = scored.rows["language"][:]
    assert len({(languages[row], column) for row, column in chosen}) == len(chosen) == 4
    for row, column in chosen:
        same = (np.asarray(languages) == languages[row]) & (scored.labels[:, column] != MASKED)
        confidence = np.abs(scored.probabilities[same, column] - scored.labels[same, column])
        assert abs(scored.probabilities[row, column] - scored.labels[row, column]) == pytest.approx(confidence.max())


def test_shades_follow_the_weights(scored: Scored) -> None:
    scored.flagged[:] = scored.labels != 1
    (row, column), *_ = worst_errors(scored)
    pieces = [Piece(" heavy", 2.0), Piece(" against", -1.2), Piece(" light", 0.1)]
    shown, *rest = error_examples(scored, {(row, column): pieces}, show_text=True, most=1)
    assert shown["pieces"] == [(" ", "heavy", "up3"), (" ", "against", "down2"), (" ", "light", "")]
    assert shown["heaviest"] == [("heavy", 2.0), ("against", -1.2), ("light", 0.1)]
    assert [example["first"] for example in (shown, *rest)] == [True, False, True, False], "one of each head at once"
    (masked, *_) = error_examples(scored, {(row, column): pieces}, show_text=False, most=1)
    assert masked["pieces"][0][:2] == (" ", "h••••")
    assert masked["heaviest"][0][0] == "h••••"
