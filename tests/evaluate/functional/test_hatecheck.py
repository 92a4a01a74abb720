"""A file in HateCheck's format is read as a suite; what does not fit is refused with a sentence."""

from pathlib import Path

import pandas as pd
import pytest

from data_prep.command import UserError
from evaluate.functional.hatecheck import read_hatecheck
from evaluate.functional.settings import SuiteSettings

HEADER = ",".join(
    ["", "functionality", "case_id", "test_case", "label_gold", "target_ident", "direction", "focus_words", "focus_lemma", "ref_case_id",
     "ref_templ_id", "templ_id\n"]
)  # fmt: skip
ROWS = (
    "0,threat_dir_h,1,I will come for the Tovral people.,hateful,,,,,,,11\n"
    "1,negate_neg_nh,2,Nobody comes for the Tovral people.,non-hateful,,,,,1,11,12\n"
    "2,derog_neg_emote_h,3,I dislike the Tovral people.,hateful,,,,,,,13\n"
)
SUITE = SuiteSettings(
    name="check",
    labels={"violence_glorification": {"threat_dir_h": 1, "negate_neg_nh": 0}},
    hard_negatives={"negate_neg_nh": "QUOTE"},
)


def written(folder: Path, content: str) -> Path:
    path = folder / "suite.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_rows_become_cases_and_unjudged_ones_are_left_out(tmp_path: Path) -> None:
    cases = read_hatecheck(written(tmp_path, HEADER + ROWS), SUITE)
    assert cases["case_id"].tolist() == ["check/1", "check/2"]
    assert cases["violence_glorification"].tolist() == [1, 0]
    assert cases["ref_case_id"].tolist() == ["", "check/1"]
    assert cases["hard_negative"].tolist() == ["", "QUOTE"]
    assert cases["script"].tolist() == ["Latn", "Latn"]
    assert cases["template_id"].tolist() == ["11", "12"]


def test_multilingual_hatecheck_names_its_identifier_otherwise(tmp_path: Path) -> None:
    content = "mhc_case_id,functionality,test_case,label_gold\nhindi-7,threat_dir_h,मैं आऊँगा,hateful\n"
    suite = SuiteSettings(name="mhc", language="hi", labels=SUITE.labels)
    cases = read_hatecheck(written(tmp_path, content), suite)
    assert cases[["case_id", "language", "script"]].to_numpy().tolist() == [["mhc/hindi-7", "hi", "Deva"]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("functionality,case_id,label_gold\nx,1,hateful\n", "no column test_case"),
        (HEADER + ROWS.replace(",hateful", ",perhaps"), "the label 'perhaps'"),
        (HEADER + ROWS.replace(",hateful", ",non-hateful"), "counts its functionality as 1"),
        ("", "no CSV file"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        read_hatecheck(written(tmp_path, content), SUITE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_hatecheck(tmp_path / "none.csv", SUITE)


def test_the_config_for_hatecheck_means_what_the_source_config_means() -> None:
    import yaml

    from tests.conftest import ROOT

    suite = yaml.safe_load((ROOT / "configs" / "suite" / "hatecheck.yaml").read_text(encoding="utf-8"))
    source = yaml.safe_load((ROOT / "configs" / "source" / "hatecheck_en.yaml").read_text(encoding="utf-8"))
    meaning = dict(source["labels"]["violence_glorification"]["functionality"])
    assert meaning.pop("*") is None
    assert suite["labels"]["violence_glorification"] == meaning
    assert pd.Series(suite["hard_negatives"]).index.isin(list(meaning)).all()
