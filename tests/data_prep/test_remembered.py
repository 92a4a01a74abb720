"""What was published as a test row is never a training row later, whatever happens to its copies, its language and its relatives."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.normaliser import normalise
from data_prep.table import load_examples
from tests.conftest import jsonl_source, write_jsonl
from tests.data_prep.test_prepare import account, posts, prepared

ROWS = posts(200)


def splits(folder: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The split of each normalised text after a preparation of these rows."""
    write_jsonl(folder / "raw" / "posts.jsonl", rows)
    table = load_examples(prepared(folder, jsonl_source()))
    return {normalise(text): split for text, split in zip(table["text"], table["split"], strict=True)}


def spaced(row: dict[str, Any]) -> dict[str, Any]:
    """The same text to a model, in other characters."""
    return {**row, "text": row["text"].replace(" ", "  ", 1)}


@pytest.mark.parametrize(
    "changed",
    [[*map(spaced, ROWS), *ROWS], [*map(spaced, ROWS)], [{**row, "lang": "ur"} for row in ROWS]],
    ids=["a copy stands before each", "only a copy is left", "the language was corrected"],
)
def test_a_text_keeps_its_split(tmp_path: Path, changed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    before = splits(tmp_path, ROWS)
    assert splits(tmp_path, changed) == before
    assert "warning" not in capsys.readouterr().out


def test_an_official_training_row_leaves_if_it_is_like_a_row_that_was_tested_on(tmp_path: Path) -> None:
    before = splits(tmp_path, ROWS)
    tested = [row for row in ROWS if before[row["text"]] == "test"]
    near = [{**row, "text": row["text"] + "!", "split": "train"} for row in tested[:3]]
    copies = [{**spaced(row), "split": "train"} for row in tested[3:5]]
    assert splits(tmp_path, [*near, *copies, *ROWS]) == before
    counted = account(tmp_path / "data" / "mine", "posts")
    assert (counted["leaking"], counted["duplicates"], counted["rows_in"]) == (3, 2, 205)
    refused = [json.loads(line) for line in (tmp_path / "data" / "mine" / "rejected.jsonl").read_text().splitlines()]
    assert [row["against"] for row in refused if "against" in row] == ["posts"] * 3
    assert "| posts | train | 3 | posts | 3 |" in (tmp_path / "data" / "mine" / "leakage.md").read_text()


def test_a_split_that_a_source_comes_to_declare_is_taken_and_the_moves_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = splits(tmp_path, ROWS)
    capsys.readouterr()
    assert set(splits(tmp_path, [{**row, "split": "train"} for row in ROWS]).values()) == {"train"}
    tested, validated = ([*before.values()].count(split) for split in ("test", "validation"))
    assert f"than when last published: {tested} from test to train, {validated} from validation to train;" in capsys.readouterr().out
