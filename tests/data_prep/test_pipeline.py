"""A prepared mixture keeps the Example table's contract, accounts for each row and is published whole or not at all."""

import json
from pathlib import Path

import pytest

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json
from data_prep.table import example_schema, load_examples
from tests.conftest import HEADS, prepare_rows, tiny_rows

ROWS = [
    {"text": "one", "lang": "en", "propaganda": 1, "violence_glorification": 0},
    {"text": "One", "lang": "en", "propaganda": 0, "violence_glorification": 0},
    {"text": "oneee", "lang": "en", "propaganda": 1, "violence_glorification": None},
    {"text": "one ", "lang": "en", "propaganda": 0, "violence_glorification": 0},
    {"text": "", "lang": "en", "propaganda": 1, "violence_glorification": 0},
    {"text": "دو", "lang": "ur", "propaganda": None, "violence_glorification": None},
]


def test_the_table_has_the_contract_columns_and_types(tmp_path: Path) -> None:
    table = load_examples(prepare_rows(tmp_path, tiny_rows(40)))
    assert table.features.arrow_schema.remove_metadata() == example_schema(sorted(HEADS))
    assert set(table["split"]) == {"train", "validation", "test"}


def test_rows_in_equal_rows_accounted_for(tmp_path: Path) -> None:
    folder = prepare_rows(tmp_path, ROWS)
    account = read_json(folder / "manifest.json")["sources"]["posts"]
    assert {key: account[key] for key in ("rows_in", "kept", "duplicates", "leaking", "rejected", "conflicts")} == {
        "rows_in": 6, "kept": 3, "duplicates": 1, "leaking": 0, "rejected": 2, "conflicts": 1,
    }  # fmt: skip
    assert account["as_read"] == {"propaganda": {"en": [2, 2]}, "violence_glorification": {"en": [3, 0]}}
    refused = [json.loads(line) for line in (folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row.get("row"), row["reason"][:12]) for row in refused] == [(5, "empty text"), (4, "duplicate"), (6, "no head has ")]


def test_the_datasheet_shows_counts_and_no_text(tmp_path: Path) -> None:
    folder = prepare_rows(tmp_path, [{"text": f"secret phrase {index}", "lang": "ur", "propaganda": 1} for index in range(9)])
    datasheet = (folder / "datasheet.md").read_text(encoding="utf-8")
    assert "| posts | ur | propaganda | glorification |" in datasheet
    assert "secret" not in datasheet


def test_the_same_input_gives_the_same_table(tmp_path: Path) -> None:
    first = read_json(prepare_rows(tmp_path / "a", tiny_rows(60)) / "manifest.json")
    second = read_json(prepare_rows(tmp_path / "b", tiny_rows(60)) / "manifest.json")
    assert first == second


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        ([{"text": "", "lang": "en", "propaganda": 1}], "all 1 rows were rejected, the first because of empty text"),
        ([{"text": "a", "lang": "en", "propaganda": 1}, {"text": "b", "lang": "en", "propaganda": "perhaps"}], "unknown value 'perhaps'"),
    ],
)
def test_unusable_input_leaves_nothing_behind(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare_rows(tmp_path, rows)
    assert not list((tmp_path / "data").glob("[!.]*"))
    assert not list((tmp_path / "data" / ".cache").iterdir())


def test_a_failed_publication_keeps_the_old_result(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with publish_folder(target) as folder:
        (folder / "value").write_text("old")
    with pytest.raises(FileNotFoundError), publish_folder(target) as folder:
        (folder / "value").write_text((folder / "missing").read_text())
    assert (target / "value").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_successful_publication_replaces_it(tmp_path: Path) -> None:
    for value in ("old", "new"):
        with publish_folder(tmp_path / "result") as folder:
            (folder / "value").write_text(value)
    assert (tmp_path / "result" / "value").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_loading_what_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `python -m data_prep mixture=nothing"):
        load_examples(tmp_path / "nothing")
