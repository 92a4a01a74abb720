"""Which columns a source has is told by all its rows: JSON lines may leave out what is empty, and a first row may be malformed."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, EngineSettings, JoinSettings, MixtureSettings, ValueSettings
from data_prep.table import load_examples
from tests.conftest import HEADS, jsonl_source

LABELS = {"propaganda": {"label": {"1": 1, "0": 0, "": None}}}


def texts(folder: Path, *lines: object, **changes: Any) -> list[str]:
    """The texts kept of these lines: JSON lines of objects, or a line as it is."""
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "posts.jsonl").write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    usual = {"family": None, "split": ValueSettings(), "language": ValueSettings(value="en"), "labels": LABELS}
    mixture = MixtureSettings(name="mine", sources={"posts": jsonl_source(**usual | changes)})
    return list(
        load_examples(prepare(DataPrepSettings(mixture, HEADS, f"{folder}/raw", f"{folder}/data", EngineSettings(workers=1))))["text"]
    )


def test_a_column_may_begin_in_a_later_row(tmp_path: Path) -> None:
    lines = [{"text": "rain in Ruvel"}, {"text": "sun in Dalmire", "label": 1}, {"text": "tea", "label": 0, "group": "g"}]
    assert texts(tmp_path, *lines, family="group") == ["sun in Dalmire", "tea"]


@pytest.mark.parametrize("first", ["not JSON", {"text": "rain in Ruvel", "label": 1}])
def test_a_column_that_is_in_no_row_stops_the_run(tmp_path: Path, first: object) -> None:
    with pytest.raises(UserError, match=r"no column 'labl': its columns are text, label;"):
        texts(tmp_path, first, {"text": "tea", "label": 0}, labels={"propaganda": {"labl": {"1": 1, "*": 0, "": None}}})


def test_a_missing_text_column_is_named_even_with_translations(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'post': its columns are english, label;"):
        texts(tmp_path, {"english": "tea", "label": 0}, text="post", parallel={"english": "en"})


def test_a_text_left_out_rejects_its_row_alone(tmp_path: Path) -> None:
    lines = [{"english": "rain in Ruvel", "label": 1}, {"text": "barish", "english": "tea in Dalmire", "label": 0}]
    assert texts(tmp_path, *lines, parallel={"english": "en"}) == ["rain in Ruvel", "barish", "tea in Dalmire"]


def test_what_is_joined_may_be_sparse_too(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "parts.jsonl").write_text('{"key": "1"}\n{"key": "2", "part": "test"}\n{"part": "train"}\n')
    join = [JoinSettings(files="parts.jsonl", by="key", add=["part"])]
    lines = [{"key": key, "text": f"tea in Ruvel {key}", "label": 0} for key in ("1", "2")]
    assert len(texts(tmp_path, *lines, join=join, split=ValueSettings(column="part"))) == 2


def test_where_most_rows_are_malformed_the_file_is_to_blame(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 3 rows were rejected, the first because of not JSON"):
        texts(tmp_path, "Rain", "fell", {"label": 1})
