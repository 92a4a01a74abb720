"""A row becomes an example as its source's config says, or is rejected with a reason."""

from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.mapping import Rejection, check_columns, judgements, to_example
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
    assert example({"text": "دنیا HTTPS://Library.example/Opening Www.library.example"})["script"] == "Arab"


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
        ({"lang": "Urdu"}, "unknown language 'Urdu'"),
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


@pytest.mark.parametrize(("cell", "language"), [("UR", "ur"), ("ur-latn", "ur-Latn"), ("", "und"), (None, "und"), ("kas", "kas")])
def test_a_language_has_one_spelling(cell: str | None, language: str) -> None:
    assert example({"lang": cell})["language"] == language
    assert example({"lang": cell})["id"] == example({"lang": language})["id"]


@pytest.mark.parametrize("column", ["lang", "split", "group", "propaganda", "mood", "kinds", "by"])
def test_bytes_that_are_not_in_the_encoding_reject_their_row_wherever_they_stand(column: str) -> None:
    changes: dict[str, Any] = {
        "hard_negative": ValueSettings(column="mood", map={"*": None, "": None}),
        "labels": {"propaganda": {"propaganda": {"1": 1, "*": 0}}},
        "attributes": {"technique": ValueSettings(column="kinds"), "voice": ValueSettings(column="by")},
    }
    assert example({}, **changes)["propaganda"] == 1
    value = ["slogan", "caf\udce9"] if column == "kinds" else "caf\udce9"
    with pytest.raises(Rejection, match=f"column {column} is not valid in its file's encoding"):
        example({column: value}, **changes)


def test_attributes_are_translated_by_their_map() -> None:
    attributes = {
        "stance": ValueSettings(column="mood", map={"pro": "endorse", "": None}),
        "technique": ValueSettings(column="kinds", map={"slogan": "Slogans", "none": None}),
        "code_switched": ValueSettings(column="mixed", map={"1": "true", "0": "false"}),
    }
    made = example({"mood": "pro", "kinds": ["slogan", "none"], "mixed": 1}, attributes=attributes)["attributes"]
    assert (made["stance"], made["technique"], made["code_switched"]) == ("endorse", ["Slogans"], True)
    made = example({"mood": None, "mixed": 0}, attributes=attributes)["attributes"]
    assert (made["stance"], made["technique"], made["code_switched"]) == (None, None, False)
    with pytest.raises(Rejection, match="unknown value 'con' in column mood"):
        example({"mood": "con", "mixed": 0}, attributes=attributes)


@pytest.mark.parametrize(
    ("labels", "votes"),
    [
        ({"kind": {"yes": 1, "*": 0}}, [1, 0, None, None]),  # nobody voted: "*" is any other value, not an empty cell
        ({"kind": {"yes": 1, "*": 0, "": 0}}, [1, 0, 0, 0]),
        ({"kind": {"yes": 1, "no": None}, "other": {"yes": None, "no": 0}}, [1, 0, None, None]),  # the first that judges
        ({"kind": {"yes": 1}, "b": {"no": 1, "yes": 0}}, [1, 1, None, None]),  # a column with a map of its own
    ],
)
def test_a_vote_means_what_the_cell_means_as_a_label(labels: dict[str, Any], votes: list[int | None]) -> None:
    source = jsonl_source(labels={"propaganda": labels}, votes={"propaganda": ["a", "b", "c", "d"]})
    assert judgements({"a": "yes", "b": "no", "c": "", "d": None}, source, "propaganda") == votes
