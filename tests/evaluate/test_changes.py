"""Release against release: the right predecessor, the right rows, and no alarm where nothing changed."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from data_prep.command import UserError
from data_prep.files import write_json
from evaluate.changes import PREDICTIONS, Comparison, compare_releases, prediction_table, previous_predictions
from train.labels import MASKED


def leave_report(releases: Path, name: str, first_evaluated: str, ids: list[str], head: str = "h") -> None:
    folder = releases / name / "report"
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {"first_evaluated": first_evaluated})
    prediction_table(ids, [head], np.full((len(ids), 1), 0.5), np.ones((len(ids), 1), dtype=bool)).to_parquet(folder / PREDICTIONS)


def test_the_predecessor_is_the_last_one_first_evaluated_before(tmp_path: Path) -> None:
    leave_report(tmp_path, "one", "2024-01-01", ["a"])
    leave_report(tmp_path, "two", "2024-02-01", ["a"])
    leave_report(tmp_path, "other", "2024-02-02", ["z"])
    leave_report(tmp_path, "three", "2024-03-01", ["a"])
    leave_report(tmp_path, "headless", "2024-03-02", ["a"], head="old")

    def name(release: str, wanted: str | None = None) -> str | None:
        found = previous_predictions(tmp_path, release, wanted, ["a", "b"], ["h", "new"])
        return None if found is None else found[0]

    assert name("new") == "three", "a release without a shared head is no predecessor either"
    assert name("three") == "two", "evaluating again changes nothing, and a release without a shared row is no predecessor"
    assert name("one") is None
    assert name("new", "one") == "one"
    with pytest.raises(UserError, match="evaluate it first"):
        name("new", "never")
    with pytest.raises(UserError, match="evaluate it first"):
        name("one", "one")
    with pytest.raises(UserError, match="other test rows"):
        name("new", "other")
    with pytest.raises(UserError, match="has none of the heads h, new: name another release"):
        name("new", "headless")


def compare(
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int8],
    families: npt.NDArray[np.int64] | None = None,
) -> Comparison:
    ids = [str(number) for number in range(len(truth))]
    table = prediction_table(ids, ["h"], np.where(before, 0.8, 0.2)[:, None], before[:, None])
    return compare_releases(
        "old", table.sample(frac=1, random_state=0), ids, ["h"], truth[:, None], np.repeat("ur", len(truth)),
        np.arange(len(truth)) if families is None else families, np.where(after, 0.9, 0.2)[:, None], after[:, None], 3,
    )  # fmt: skip


def test_changes_by_hand() -> None:
    truth = np.asarray([0] * 20 + [1] * 10 + [MASKED], dtype=np.int8)
    before, after = truth == 1, truth == 1
    before, after = before.copy(), after.copy()
    after[:8] = True  # eight false positives
    before[20] = False  # one miss less
    made = compare(before, after, truth)
    negatives, positives = made.changes
    assert (negatives.label, negatives.rows, negatives.newly_wrong, negatives.newly_right, negatives.worse) == (0, 20, 8, 0, True)
    assert negatives.p == pytest.approx(2 * 2 / 2**8), "twice McNemar's p, by Holm's correction"
    assert negatives.drift == pytest.approx(8 / 20)
    assert negatives.mean_shift == pytest.approx(8 * 0.7 / 20)
    assert (positives.newly_wrong, positives.newly_right, positives.p) == (0, 1, 1.0)
    assert made.newly_wrong == {"h": [0, 1, 2]}
    assert made.newly_right == {"h": [20]}
    assert made.rows == 31


def test_the_direction_is_that_of_the_families_which_the_test_counts() -> None:
    """Thirty near duplicates are right now and eight posts of their own wrong: by rows better, by families eight worse and one better."""
    truth = np.zeros(38, dtype=np.int8)
    duplicates = np.arange(38) < 30
    made = compare(duplicates, ~duplicates, truth, np.where(duplicates, 0, np.arange(38)))
    (change,) = made.changes
    assert (change.newly_wrong, change.newly_right) == (8, 30)
    assert (change.families_worse, change.families_better, change.worse) == (8, 1, True)
    assert change.p == pytest.approx(2 * (1 + 9) / 2**9)


def test_a_head_that_was_not_there_is_named_and_the_others_are_compared() -> None:
    truth = np.zeros((4, 2), dtype=np.int8)
    ids = ["0", "1", "2", "3"]
    before = prediction_table(ids, ["h"], np.full((4, 1), 0.2), np.zeros((4, 1), dtype=bool))
    made = compare_releases(
        "old", before, ids, ["h", "new"], truth, np.repeat("ur", 4), np.arange(4), np.full((4, 2), 0.9), np.ones((4, 2), dtype=bool), 2
    )
    assert made.new_heads == ["new"]
    assert [(change.head, change.newly_wrong) for change in made.changes] == [("h", 4)]
    assert made.newly_wrong.keys() == {"h"}


def test_releases_that_differ_by_chance_are_rarely_called_different() -> None:
    rng = np.random.default_rng(0)
    truth = (np.arange(600) % 2).astype(np.int8)
    alarms = 0
    for _ in range(200):
        made = compare(rng.random(600) < 0.3 + 0.4 * truth, rng.random(600) < 0.3 + 0.4 * truth, truth)
        alarms += any(change.p <= 0.05 for change in made.changes)
    assert alarms / 200 <= 0.08  # at most 5% in the long run
