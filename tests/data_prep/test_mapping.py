"""A row becomes an example as its source's config says, or is rejected with a reason."""

from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.mapping import Rejection, check_columns, to_example
from data_prep.settings import ValueSettings
from tests.conftest import HEADS, jsonl_source

ROW: dict[str, Any] = {"text": "hello دنیا", "lang": "ur", "split": None, "group": None, "propaganda": 1, "violence_glorification": None}


def example(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return to_example({**ROW, **row}, jsonl_source(**changes), sorted(HEADS))


def test_an_example_has_the_contract_columns() -> None:
    made = example({"group": "g7"})
    assert (made["propaganda"], made["violence_glorification"]) == (1, None)
    assert (made["language"], made["script"], made["split"]) == ("ur", "Latn", None)
    assert made["declared_family"] == "posts/g7"
    assert len(made["id"]) == 32


def test_the_id_depends_on_content_only() -> None:
    assert example({"group": "1"})["id"] == example({"group": "2", "propaganda": 0})["id"]
    assert example({})["id"] != example({"lang": "ps"})["id"]


def test_the_first_column_that_judges_decides() -> None:
    labels = {"propaganda": {"strong": {"1": 1, "0": None}, "any": {"0": 0, "1": None}}, "violence_glorification": {"any": {"*": 0}}}
    judged = [
        example({"strong": strong, "any": any_}, labels=labels)["propaganda"] for strong, any_ in ((1, 1), (0, 0), (0, 1))
    ]  # fmt: skip
    assert judged == [1, 0, None]


@pytest.mark.parametrize(("cell", "label"), [([], 0), (None, 0), (["Slogans"], 1), ([{"technique": "Smears"}], 1)])
def test_lists_are_labels_by_being_empty_or_not(cell: Any, label: int) -> None:
    made = example(
        {"labels": cell}, labels={"propaganda": {"labels": {"": 0, "*": 1}}}, attributes={"technique": ValueSettings(column="labels")}
    )
    assert made["propaganda"] == label
    assert made["attributes"]["technique"] == (
        [item["technique"] if isinstance(item, dict) else item for item in cell] if cell is not None else None
    )


@pytest.mark.parametrize("cell", [["ridicule", "threat"], "['ridicule', 'threat']", '["ridicule", "threat"]', "ridicule; threat"])
def test_each_value_of_a_list_is_judged_by_itself_for_every_head(cell: Any) -> None:
    """A positive among them decides, else a negative; and all are the row's techniques."""
    made = example(
        {"kinds": cell},
        labels={
            "violence_glorification": {"kinds": {"threat": 1, "": 0, "*": 0}},
            "propaganda": {"kinds": {"slogan": 1, "ridicule": None, "*": 0}},
        },
        lists={"kinds": ";"} if ";" in cell else {},
        attributes={"technique": ValueSettings(column="kinds")},
    )
    assert (made["violence_glorification"], made["propaganda"]) == (1, 0)
    assert made["attributes"]["technique"] == ["ridicule", "threat"]


@pytest.mark.parametrize(("cell", "label"), [("a|c", 1), ("b|c", 0), ("c", None), ("c|c", None), ("", None), ("|", None)])
def test_values_apart_in_a_cell_are_judged_in_any_order(cell: str, label: int | None) -> None:
    labels: dict[str, dict[str, dict[str, int | None]]] = {"propaganda": {"kinds": {"a": 1, "b": 0, "c": None, "": None}}}
    for written in (cell, "|".join(reversed(cell.split("|")))):
        assert example({"kinds": written}, labels=labels, lists={"kinds": "|"})["propaganda"] == label


def test_an_unknown_value_in_a_list_is_named_by_itself() -> None:
    with pytest.raises(Rejection, match="unknown value 'satire' in column kinds"):
        example({"kinds": ["threat", "satire"]}, labels={"propaganda": {"kinds": {"threat": 1}}})


def test_brackets_in_a_cell_are_no_list_unless_they_are_written_as_one() -> None:
    labels: dict[str, dict[str, dict[str, int | None]]] = {"propaganda": {"kind": {"[IND] threat]": 1, "[a]": 0, "['a']": 1}}}
    assert [example({"kind": cell}, labels=labels)["propaganda"] for cell in ("[IND] threat]", "[a]", "['a']")] == [1, 0, 1]


def test_links_and_handles_do_not_decide_the_script() -> None:
    assert example({"text": "دنیا @some_long_handle https://library.example/opening"})["script"] == "Arab"
    assert example({"text": "https://library.example/opening"})["script"] == "Zyyy"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None}, "empty text"),
        ({"text": "  \n"}, "empty text"),
        ({"text": "\u200b\u200e"}, "empty after normalisation"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "a\udcffb"}, "not valid in its file's encoding"),
        ({"propaganda": "maybe"}, "unknown value 'maybe' in column propaganda"),
        ({"split": "dev"}, "unknown split 'dev'"),
    ],
)
def test_rejections_name_their_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        example(row)
    assert reason in caught.value.reason


def test_a_spreadsheet_number_equals_its_digits() -> None:
    assert example({"propaganda": 1.0})["propaganda"] == 1


def test_a_missing_column_is_named_with_those_there() -> None:
    with pytest.raises(UserError, match=r"no column 'split'.*its columns are text"):
        check_columns({"text": "a"}, jsonl_source(family=None, language=ValueSettings(value="en"), labels={}))
