"""What cannot be prepared is refused in one sentence before anything is read."""

from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.limits import check_data_settings, check_mixture
from data_prep.settings import DataPrepSettings, MixtureSettings, SourceSettings, ValueSettings
from tests.conftest import HEADS, jsonl_source


def mixture(sources: dict[str, SourceSettings], **changes: Any) -> MixtureSettings:
    return MixtureSettings(name="mine", sources=sources, **changes)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (mixture({"posts": jsonl_source("more")}), "lists the source more as posts"),
        (mixture({"posts": jsonl_source(), "more": jsonl_source()}), "has two sources called posts"),
        (mixture({"posts": jsonl_source()}, held_out={"suite": jsonl_source()}), "has two sources called posts"),
        (mixture({"posts": jsonl_source()}, held_out={"a": jsonl_source("a"), "b": jsonl_source("a")}), "has two sources called a"),
    ],
)
def test_a_source_has_one_name_of_its_own(refused: MixtureSettings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_mixture(refused)


def test_a_held_out_source_may_be_listed_under_another_name() -> None:
    check_mixture(mixture({"posts": jsonl_source()}, held_out={"suite": jsonl_source("functional_suite")}))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"language": ValueSettings(value="False")}, r"language\.value is 'False'"),  # what YAML makes of an unquoted no
        ({"language": ValueSettings(value="Urdu")}, r"language\.value is 'Urdu'"),
        ({"language": ValueSettings(column="lang", map={"NO": "False", "EN": "en"})}, r"language\.map\.NO is 'False'"),
        ({"parallel": {"translation": "False"}}, r"parallel\.translation is 'False'"),
    ],
)
def test_a_language_that_is_no_code_is_refused(changes: dict[str, Any], key: str) -> None:
    settings = DataPrepSettings(mixture({"posts": jsonl_source(**changes)}), HEADS)
    with pytest.raises(UserError, match=rf"source posts: {key}, which is no BCP-47 code.*YAML takes no without them for false"):
        check_data_settings(settings)


@pytest.mark.parametrize("code", ["no", "und", "ur-Latn", "bal", "zh-Hans-CN", "EN", "es-419"])
def test_codes_pass(code: str) -> None:
    source = jsonl_source(language=ValueSettings(column="lang", map={"it": code, "": None}), parallel={"translation": code})
    check_data_settings(DataPrepSettings(mixture({"posts": source}), HEADS))
