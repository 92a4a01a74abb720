"""Decision flips: only sentences of the same content and label are compared."""

import numpy as np
import pandas as pd
import pytest

from evaluate.parallel import count_flips
from train.labels import MASKED


def table(*lines: tuple[str, str, str, int, bool]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    frame = pd.DataFrame(lines, columns=["family", "source", "language", "label", "flagged"])
    return frame[["family", "source", "language"]], frame["label"].to_numpy(dtype=np.int8), frame["flagged"].to_numpy(dtype=bool)


def test_flips_by_hand() -> None:
    lines = []
    for number in range(10):
        lines.append((f"f{number}", "s", "en", 0, number == 0))
        lines.append((f"f{number}", "s", "ur", 0, number < 3))
    lines += [("g", "s", "ur", 0, True), ("h", "other", "ps", 0, True), ("h", "s", "en", 0, False)]  # no translation of each other
    frame, labels, flagged = table(*lines)
    (made,) = count_flips("h", frame, labels, flagged, "en")
    assert (made.language, made.reference, made.pairs, made.flips.value) == ("ur", "en", 10, 0.2)
    assert (made.only_language_flagged, made.only_reference_flagged) == (2, 0)


def test_another_label_or_no_judgement_is_no_translation() -> None:
    frame, labels, flagged = table(
        ("f", "s", "en", 0, False), ("f", "s", "ur", 1, True), ("g", "s", "en", 0, False), ("g", "s", "ur", MASKED, True)
    )
    assert count_flips("h", frame, labels, flagged, "en") == []


def test_near_duplicates_in_one_language_are_one_sentence() -> None:
    frame, labels, flagged = table(("f", "s", "en", 0, False), ("f", "s", "ur", 0, True), ("f", "s", "ur", 0, True))
    (made,) = count_flips("h", frame, labels, flagged, "en")
    assert made.pairs == 1


@pytest.mark.parametrize(("reference", "expected"), [("en", "ps"), ("ur", "ur")])
def test_a_reference_that_is_not_spoken_is_replaced(reference: str, expected: str) -> None:
    frame, labels, flagged = table(
        ("f", "s", "ps", 0, False), ("f", "s", "ur", 0, True), ("g", "s", "ps", 0, False), ("g", "s", "fa", 0, True)
    )  # fmt: skip
    assert {one.reference for one in count_flips("h", frame, labels, flagged, reference)} == {expected}
