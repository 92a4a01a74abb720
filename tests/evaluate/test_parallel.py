"""Decision flips: only sentences of the same content and label are compared, and only of sources that are parallel text."""

import numpy as np
import pandas as pd
import pytest

from evaluate.parallel import FEWEST, count_flips, parallel_languages
from train.labels import MASKED

Line = tuple[str, str, str, int, bool]


def table(*lines: Line) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    frame = pd.DataFrame(lines, columns=["family", "source", "language", "label", "flagged"])
    return frame[["family", "source", "language"]], frame["label"].to_numpy(dtype=np.int8), frame["flagged"].to_numpy(dtype=bool)


def translated(*languages: str, source: str = "s", flagged: str = "", families: int = FEWEST) -> list[Line]:
    """Neutral sentences in every language, of which one language may be flagged throughout."""
    return [(f"{source}{number}", source, name, 0, name == flagged) for number in range(families) for name in languages]


def test_flips_by_hand() -> None:
    lines = []
    for number in range(20):
        lines.append((f"f{number}", "s", "en", 0, number == 0))
        lines.append((f"f{number}", "s", "ur", 0, number < 3))
    lines += [("g", "s", "ur", 0, True), ("h", "other", "ps", 0, True), ("h", "s", "en", 0, False)]  # no translation of each other
    frame, labels, flagged = table(*lines)
    (made,) = count_flips("h", frame, labels, flagged, "en")
    assert (made.language, made.reference, made.pairs, made.flips.value) == ("ur", "en", 20, 0.1)
    assert (made.only_language_flagged, made.only_reference_flagged) == (2, 0)


def test_another_label_or_no_judgement_is_no_translation() -> None:
    same = translated("en", "ur", families=18)
    frame, labels, flagged = table(
        *same, ("f", "s", "en", 0, False), ("f", "s", "ur", 1, True), ("g", "s", "en", 0, False), ("g", "s", "ur", MASKED, True)
    )
    (made,) = count_flips("h", frame, labels, flagged, "en")
    assert (made.pairs, made.flips.count) == (18, 0)
    assert count_flips("h", frame, np.full(len(labels), MASKED), flagged, "en") == []


def test_several_wordings_in_either_language_are_one_sentence() -> None:
    twice = translated("en", "ur", flagged="ur") * 2
    (made,) = count_flips("h", *table(*twice), "en")
    assert (made.pairs, made.flips.count) == (FEWEST, FEWEST)


@pytest.mark.parametrize(("reference", "expected"), [("en", "ps"), ("ur", "ur")])
def test_a_reference_that_is_not_spoken_is_replaced(reference: str, expected: str) -> None:
    frame, labels, flagged = table(*translated("ps", "ur", source="s"), *translated("ps", "fa", source="t"))
    assert {one.reference for one in count_flips("h", frame, labels, flagged, reference)} == {expected}


def test_a_family_that_is_an_author_or_a_thread_holds_no_translations() -> None:
    """Eighty authors write in two languages, a few posts each: some have as many in one as in the other, as it happens."""
    rng = np.random.default_rng(0)
    authors = [
        (f"a{number}", "harbour", language, 0, language == "ur")
        for number in range(80)
        for language in ("en", "ur")
        for _ in range(rng.integers(0, 4))
    ]
    both = pd.DataFrame(authors).groupby([0, 2]).size().unstack(fill_value=0)
    assert (both["en"] == both["ur"]).sum() >= FEWEST, "the example would not be worth much"
    frame, labels, flagged = table(*authors, *translated("en", "ur", source="parallel"))
    assert parallel_languages(frame) == {("parallel", "en", "ur"), ("parallel", "ur", "en")}
    (made,) = count_flips("h", frame, labels, flagged, "en")
    assert (made.pairs, made.flips.count) == (FEWEST, 0), "the authors' posts are no pairs"


def test_some_lost_translations_are_forgiven_and_few_families_are_not_enough() -> None:
    lost = [("u", "s", "ur", 0, False), ("v", "s", "en", 0, False)]
    assert parallel_languages(table(*translated("en", "ur", families=18), *lost)[0])  # 18 of 20
    assert not parallel_languages(table(*translated("en", "ur", families=17), *lost)[0])  # 17 of 19
    assert not parallel_languages(table(*translated("en", "ur", families=FEWEST - 1))[0])
