"""Edited posts: what counts as a flip and as a loss, against hand-counted posts; and the artifact's own answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.normaliser import normalise
from data_prep.settings import to_settings
from evaluate.predictions import Scored, score
from evaluate.robustness import ALL, PERTURBATIONS, compare_decisions, draw_rows, edit_for, measure_robustness
from evaluate.settings import EvaluateSettings
from evaluate.significance import paired_difference
from train.labels import MASKED

TEXTS = {
    ("en", "Latn"): "A short report about the raid on Ruvel this morning",
    ("ur-Latn", "Latn"): "Ye report Ruvel ke baare mein hai aur nahi ruki",
    ("ur", "Arab"): "رُوول کے بارے میں آج صبح کی ایک مختصر رپورٹ",
    ("ru", "Cyrl"): "Короткая новость о сегодняшнем утре в Рувеле",
    ("hi", "Deva"): "रूवेल के बाज़ार में आज सुबह बड़ा मेला लगा था",
}


@pytest.fixture
def scored(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> Scored:
    settings: EvaluateSettings = to_settings(compose_stage("evaluate", "release=tiny"), EvaluateSettings)
    settings.data_dir, settings.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    return score(settings)


@pytest.mark.parametrize(("language", "script"), TEXTS)
def test_every_edit_that_a_script_has_changes_a_text_of_it(language: str, script: str) -> None:
    text = TEXTS[language, script]
    edits = {name: edit for name in PERTURBATIONS if (edit := edit_for(name, language, script)) is not None}
    changed = {name for name, edit in edits.items() if edit(text) != text}
    assert changed == edits.keys() - ({"transliteration"} if script == "Latn" else set()), "Latin letters are Latin already"
    assert len(changed) >= 7
    assert len({edits[name](text) for name in changed}) == len(changed), "no two edits do the same"


def test_a_language_has_its_own_before_its_script_and_some_have_none() -> None:
    edit = edit_for("letter variants", "ur-Latn", "Latn")
    assert edit is not None
    assert edit("ye nahi hai") == "yeh nai he"
    assert edit_for("digits for letters", "ur", "Arab") is None
    tagged = edit_for("code-switching", "en", "Latn")
    assert tagged is not None
    assert tagged("one two") == "yaar one matlab two bhai"


def test_what_the_normaliser_undoes_cannot_flip_a_decision() -> None:
    for name, key in (("zero-width characters", ("en", "Latn")), ("letter variants", ("en", "Latn")), ("diacritics", ("ur", "Arab"))):
        edit = edit_for(name, *key)
        assert edit is not None
        assert normalise(edit(TEXTS[key])) == normalise(TEXTS[key]), name


def test_flips_and_losses_by_hand() -> None:
    """Two positives and two negatives under one edit, the first positive under another one too."""
    before = np.asarray([True, True, False, True, True])
    after = np.asarray([False, True, True, True, False])
    truth = np.asarray([1, 1, 0, 0, 1], dtype=np.int8)
    names = np.asarray(["emoji"] * 4 + ["spaced letters"])
    languages = np.asarray(["en", "ur", "en", "ur", "en"])
    found = {
        (one.edit, one.language): one for one in compare_decisions("p", before, after, truth, names, languages, np.asarray([0, 1, 2, 3, 0]))
    }
    emoji = found["emoji", ALL]
    assert (emoji.rows, emoji.flips.count, emoji.flips.value) == (4, 2, 0.5)
    assert (emoji.positives, emoji.recall_loss.value, emoji.negatives, emoji.fpr_rise.value) == (2, 0.5, 2, 0.5)
    assert found["emoji", "ur"].flips.value == 0
    assert found["emoji", "ur"].recall_loss.value == 0
    assert found["spaced letters", ALL].fpr_rise.value is None, "no negative was edited so"
    assert found[ALL, "en"].rows == 3
    assert found[ALL, "en"].recall_loss.value == 1
    assert found[ALL, "en"].flips.effective == 2, "two edits of one post are no two posts"
    assert ("spaced letters", "ur") not in found


def test_a_row_that_nobody_judged_counts_nowhere() -> None:
    one = np.asarray([True])
    assert compare_decisions("p", one, ~one, np.asarray([MASKED]), np.asarray(["emoji"]), np.asarray(["en"]), np.asarray([0])) == []


def test_the_interval_of_a_paired_difference_by_hand() -> None:
    """Bonett and Price: 4 of 10 gain and none lose, so (5 - 1) / 12 +- 1.959964 sqrt((6/12 - (4/12)^2) / 12) = 0.3333 +- 0.3528."""
    gained = np.arange(10) < 4
    found = paired_difference(gained, np.zeros(10, dtype=bool))
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(-0.0195, abs=1e-4)
    assert found.high == pytest.approx(0.6862, abs=1e-4)
    assert paired_difference(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)).value is None


def test_the_interval_of_a_paired_difference_covers() -> None:
    rng = np.random.default_rng(0)
    draws = rng.choice(3, size=(2000, 60), p=[0.85, 0.12, 0.03])
    found = [paired_difference(draw == 1, draw == 2) for draw in draws]
    covered = np.mean([(one.low or 0) <= 0.09 <= (one.high or 0) for one in found])
    assert 0.93 <= covered <= 0.99


def test_the_sample_is_capped_balanced_and_of_one_row_a_family(scored: Scored) -> None:
    rows = draw_rows(scored, 3)
    languages = np.asarray(scored.rows["language"][:])
    for language in set(languages):
        for column in range(2):
            for label in (0, 1):
                available = ((languages == language) & (scored.labels[:, column] == label)).sum()
                drawn = ((languages[rows] == language) & (scored.labels[rows, column] == label)).sum()
                assert drawn >= min(3, available)
    assert len(rows) <= 2 * 2 * 2 * 3
    scored.rows = scored.rows.map(lambda row: {**row, "family": row["language"]})
    assert len(draw_rows(scored, 3)) <= 2 * 2 * 2, "one family a language"
    scored.rows = scored.rows.map(lambda row: {**row, "text": row["text"] + " long" * 500})
    assert len(draw_rows(scored, 3)) == 0


def test_decisions_on_edited_posts_are_the_artifacts_own(scored: Scored) -> None:
    found = measure_robustness(scored, 2)
    rows = draw_rows(scored, 2)
    assert {one.head for one in found} == set(scored.heads)
    assert scored.classifier is not None
    for head, column in (("propaganda", 0), ("violence_glorification", 1)):
        (cell,) = [one for one in found if (one.head, one.edit, one.language) == (head, "digits for letters", "en")]
        flips = judged = 0
        for row in rows:
            post = scored.rows[int(row)]
            edit = edit_for("digits for letters", "en", "Latn")
            if post["language"] != "en" or scored.labels[row, column] == MASKED or edit is None or edit(post["text"]) == post["text"]:
                continue
            (answer,) = scored.classifier.predict([{"text": edit(post["text"]), "language": "en"}])
            flagged = answer[head]["probability"] >= scored.policy.heads[head].threshold_of("en")  # type: ignore[operator]
            judged += 1
            flips += flagged != scored.flagged[row, column]
        assert (cell.rows, cell.flips.count) == (judged, flips)
        assert judged > 0
