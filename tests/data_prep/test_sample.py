"""The embedded sample is as large, as varied and as fictional as it claims."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.command import UserError
from data_prep.script import dominant_script
from data_prep.table import HARD_NEGATIVES
from data_prep.templates import read_templates
from tests.conftest import ROOT

SAMPLE = ROOT / "data_prep" / "sample"
SCRIPTS = {"en": "Latn", "ur-Latn": "Latn", "ru": "Cyrl", "hi": "Deva", "bn": "Beng", "pa": "Guru"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return read_templates(SAMPLE / "concepts.yaml")


def test_size_and_languages(rows: list[dict[str, Any]]) -> None:
    tests = Counter(row["language"] for row in rows if row["split"] == "test")
    assert len(rows) >= 3000
    assert len(tests) >= 12
    assert min(tests.values()) >= 60


def test_every_language_has_both_classes_of_both_heads_and_every_hard_negative(rows: list[dict[str, Any]]) -> None:
    seen: dict[str, set[Any]] = defaultdict(set)
    for row in rows:
        seen[row["language"]] |= {("p", row["propaganda"]), ("v", row["violence_glorification"]), row["hard_negative"]}
    for language, found in seen.items():
        assert found >= {("p", 0), ("p", 1), ("v", 0), ("v", 1), *HARD_NEGATIVES}, language


def test_a_concept_has_one_split_in_all_languages(rows: list[dict[str, Any]]) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row["concept"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_texts_are_distinct_and_in_their_script(rows: list[dict[str, Any]]) -> None:
    assert len({(row["language"], row["text"]) for row in rows}) == len(rows)
    assert {(row["language"], dominant_script(row["text"])) for row in rows} == {
        (row["language"], SCRIPTS.get(row["language"], "Arab")) for row in rows
    }  # fmt: skip


def test_every_language_file_says_it_is_unvalidated() -> None:
    for path in SAMPLE.glob("*.yaml"):
        if path.name not in ("concepts.yaml", "en.yaml"):
            head = path.read_text(encoding="utf-8").splitlines()[0].lower()
            assert "machine-assisted" in head, path
            assert "not validated" in head, path


def test_an_unknown_slot_is_named(tmp_path: Path) -> None:
    (tmp_path / "concepts.yaml").write_text((SAMPLE / "concepts.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    document = {"language": "xx", "slots": {"place": ["Ruvel"]}, "templates": {"news_1": "{where} is far"}}
    (tmp_path / "xx.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match="the slot where"):
        read_templates(tmp_path / "concepts.yaml")
