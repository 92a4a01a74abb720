"""The functional suite is as large, as balanced, as fictional and as separate from training texts as it claims."""

import re
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from data_prep.engine import open_engine
from data_prep.ingest import ingest
from data_prep.mapping import to_example
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.normaliser import normalise
from data_prep.readers import read_rows
from data_prep.settings import DataPrepSettings, ReaderSettings, SourceSettings, ValueSettings, to_settings
from data_prep.table import HARD_NEGATIVES
from data_prep.templates import read_templates
from evaluate.functional.cases import FUNCTIONALITIES, HEADS, functional_cases, label_gold, write_cases
from tests.conftest import ROOT

LANGUAGES = {"en", "ur", "ur-Latn", "ps", "sd", "pa", "pnb", "bal", "prs", "fa", "ar", "hi", "bn", "ru"}
SCRIPTS = {"en": "Latn", "ur-Latn": "Latn", "ru": "Cyrl", "hi": "Deva", "bn": "Beng", "pa": "Guru"}
MEANINGS = yaml.safe_load(FUNCTIONALITIES.read_text(encoding="utf-8"))["classes"]
DOCUMENTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FUNCTIONALITIES.parent.glob("*.yaml") if path != FUNCTIONALITIES
}
REAL = re.compile(  # what a text about real events would name; as words, in the languages that write in Latin letters
    r"\b(taliban|isis|isil|daesh|al.?qa.?ida|hamas|hezbollah|hizbullah|lashkar|jaish|boko haram|kabul|karachi|lahore|kashmir|gaza|"
    r"ukraine|syria|iraq|israel|russia|pakistan|india|afghanistan|iran|kandahar|peshawar|quetta|delhi|moscow|hindustan)\b",
    re.IGNORECASE,
)
REAL_ARABIC = re.compile(
    "طالبان|داعش|القاعدة|القاعده|حماس|حزب الله|لشکر طیبہ|کابل|کراچی|لاہور|کشمیر|غزہ|غزة|اسرائیل|إسرائيل|پاکستان|افغانستان|ایران|بھارت"
    "|العراق|سوريا|روسيا"
)
REAL_OTHER = re.compile(
    "तालिबान|कश्मीर|दिल्ली|भारत|पाकिस्तान|তালেবান|বাংলাদেশ|ভারত|ਭਾਰਤ|ਪਾਕਿਸਤਾਨ|ਕਸ਼ਮੀਰ|талибан|росси|украин|москв|сири[яи]|чечн", re.IGNORECASE
)


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return functional_cases()


@pytest.fixture(scope="module")
def own(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases as their templates have them."""
    return cases[cases["derived"] == ""]


def test_functionalities_and_languages(cases: pd.DataFrame) -> None:
    assert len(MEANINGS) >= 28
    assert set(cases["language"]) == LANGUAGES
    assert set(cases["functionality"]) == {
        *MEANINGS, "script_variation_positive", "script_variation_negative", "obfuscation_positive", "obfuscation_negative"
    }  # fmt: skip


@pytest.mark.parametrize("language", sorted(DOCUMENTS))
def test_every_language_has_four_templates_of_every_functionality(language: str) -> None:
    wanted = [f"{name}_{number}" for name in MEANINGS for number in (1, 2, 3, 4)]
    assert sorted(DOCUMENTS[language]["templates"]) == sorted(wanted)
    assert len(set(DOCUMENTS[language]["templates"].values())) == len(wanted)


def test_every_cell_has_forty_cases(cases: pd.DataFrame) -> None:
    cells = cases.groupby(["functionality", "language"]).size()
    assert len(cells) == 32 * len(LANGUAGES)
    assert cells.min() >= 40


def test_three_fifths_are_negative(cases: pd.DataFrame) -> None:
    assert (label_gold(cases) == "allowed").mean() >= 0.6
    for _, of_language in cases.groupby("language"):
        assert (label_gold(of_language) == "allowed").mean() >= 0.6


def test_a_negative_is_judged_by_both_heads_and_named(cases: pd.DataFrame) -> None:
    negatives = cases[label_gold(cases) == "allowed"]
    assert (negatives[list(HEADS)] == 0).all(axis=None)
    assert set(negatives["hard_negative"]) == set(HARD_NEGATIVES)
    assert (cases.loc[label_gold(cases) == "violating", "hard_negative"] == "").all()


def test_texts_and_identifiers_are_distinct(cases: pd.DataFrame) -> None:
    assert cases["case_id"].is_unique
    assert not cases.duplicated(["language", "text"]).any()


def test_texts_are_in_their_script(own: pd.DataFrame) -> None:
    found = {(language, script) for language, script in zip(own["language"], own["script"], strict=True)}
    assert found == {(language, SCRIPTS.get(language, "Arab")) for language in LANGUAGES}


def test_no_placeholder_is_left(cases: pd.DataFrame) -> None:
    assert not cases["text"].str.contains(r"[{}]").any()


@pytest.mark.parametrize("language", sorted(DOCUMENTS))
def test_only_fictional_groups_and_places_are_named(language: str) -> None:
    """Every template names its group and place through the slots, whose fillings are the same invented names everywhere."""
    document = DOCUMENTS[language]
    for key, template in document["templates"].items():
        used = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        assert used & {"group", "place"}, key
    content = " ".join([*document["templates"].values(), *(value for values in document["slots"].values() for value in values)])
    for names in (REAL, REAL_ARABIC, REAL_OTHER):
        assert not names.search(content), names.search(content)


def test_the_list_of_real_names_finds_them() -> None:
    assert REAL.search("written in Kabul.")
    assert REAL_ARABIC.search("در کابل")
    assert REAL_OTHER.search("в Москве")


def test_minimal_pairs_have_opposite_gold_and_the_same_names(own: pd.DataFrame) -> None:
    by_id = own.set_index("case_id")
    with_contrast = {name for name, meaning in MEANINGS.items() if "contrast" in meaning}
    halves = own[own["functionality"].isin(with_contrast)]
    assert len(with_contrast) >= 8
    assert halves["ref_case_id"].isin(own["case_id"]).all()
    others = by_id.loc[halves["ref_case_id"]]
    assert (others["language"].to_numpy() == halves["language"].to_numpy()).all()
    assert (others["functionality"].to_numpy() == halves["functionality"].map(lambda name: MEANINGS[name]["contrast"]).to_numpy()).all()
    opposite = np.zeros(len(halves), dtype=bool)
    for head in HEADS:
        opposite |= (halves[head].to_numpy(dtype=float, na_value=np.nan) + others[head].to_numpy(dtype=float, na_value=np.nan)) == 1
    assert opposite.all()
    for half, other in zip(halves.to_dict("records"), others.to_dict("records"), strict=True):
        slots = DOCUMENTS[half["language"]]["slots"]
        for name in ("group", "place"):
            named = {value for value in slots[name] if value.casefold() in half["text"].casefold()}
            assert named == {value for value in slots[name] if value.casefold() in other["text"].casefold()}
            assert len(named) == 1


def test_a_derived_case_keeps_the_gold_of_its_case_and_changes_its_text(cases: pd.DataFrame) -> None:
    derived = cases[cases["derived"] != ""]
    bases = cases.set_index("case_id").loc[derived["ref_case_id"]]
    assert (bases["text"].to_numpy() != derived["text"].to_numpy()).all()
    for column in (*HEADS, "language", "hard_negative"):
        assert (bases[column].fillna(-1).to_numpy() == derived[column].fillna(-1).to_numpy()).all()
    for ending, gold in (("positive", "violating"), ("negative", "allowed")):
        assert set(label_gold(derived[derived["functionality"].str.endswith(ending)])) == {gold}


def test_expansion_is_deterministic(cases: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(cases, functional_cases())


def test_fewer_cases_are_some_of_all_and_of_every_template(cases: pd.DataFrame) -> None:
    few = functional_cases(8)
    assert set(few["case_id"]) < set(cases["case_id"])
    cells = few.groupby(["functionality", "language"]).agg(cases=("case_id", "size"), templates=("template_id", "nunique"))
    assert len(cells) == 32 * len(LANGUAGES)
    assert (cells["cases"] == 8).all()
    assert (cells["templates"] >= 4).all()


def test_every_language_file_says_it_is_unvalidated() -> None:
    for language, document in DOCUMENTS.items():
        head = (FUNCTIONALITIES.parent / f"{language}.yaml").read_text(encoding="utf-8").splitlines()[0].lower()
        assert "machine-assisted, not validated by native speakers" in head, language
        assert document["validated_by"] == "", language
        assert document["language"] == language


def test_a_key_without_a_value_is_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(FUNCTIONALITIES.parent, tmp_path / "templates")
    for language, signed in (("en", "validated_by:"), ("ur", "validated_by: A. Reader")):
        path = folder / f"{language}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace('validated_by: ""', signed), encoding="utf-8")
    monkeypatch.setattr("evaluate.functional.cases.FUNCTIONALITIES", folder / FUNCTIONALITIES.name)
    found = functional_cases(1)
    assert set(found.loc[found["language"] == "en", "validated_by"]) == {""}
    assert set(found.loc[found["language"] == "ur", "validated_by"]) == {"A. Reader"}


def test_nothing_like_it_is_in_the_sample(own: pd.DataFrame) -> None:
    """No two texts, one of the suite and one of the sample that is trained on, are near duplicates."""
    sample = [normalise(row["text"]) for row in read_templates(ROOT / "data_prep" / "sample" / "concepts.yaml")]
    suite = [normalise(text) for text in own["text"]]
    planted = suite[0] + "!"  # shows that the search would find one
    found = {tuple(sorted(pair)) for pair in near_duplicate_pairs([*sample, *suite, planted], 0.7)}
    assert any(high == len(sample) + len(suite) for _, high in found)
    assert not [pair for pair in found if pair[0] < len(sample) <= pair[1]]


def test_a_mixture_can_name_it_as_held_out(tmp_path: Path, compose_stage: Callable[..., Any], own: pd.DataFrame) -> None:
    settings: DataPrepSettings = to_settings(
        compose_stage("data_prep", "mixture=sample", "+source@mixture.held_out.suite=functional_suite", f"data_dir={tmp_path}"),
        DataPrepSettings,
    )
    source = settings.mixture.held_out["suite"]
    assert source.evaluation_only
    with open_engine(settings.engine) as engine:
        table = ingest(source, settings, engine).table.to_pandas()
    assert set(table["text"]) == set(own["text"])
    for head in HEADS:
        assert table[head].sum() == own[head].sum()
        assert table[head].count() == own[head].count()


def test_the_written_file_reads_as_a_source(tmp_path: Path, cases: pd.DataFrame) -> None:
    some = cases.groupby("functionality").head(3)
    write_cases(tmp_path / "cases.csv", some)
    source = SourceSettings(
        name="cases",
        title="cases",
        origin="here",
        licence="Apache-2.0",
        evaluation_only=True,
        files="cases.csv",
        reader=ReaderSettings(format="csv"),
        text="test_case",
        language=ValueSettings(column="language"),
        labels={head: {head: {"1": 1, "0": 0, "": None}} for head in HEADS},
        hard_negative=ValueSettings(column="hard_negative"),
    )
    rows = [row for row in read_rows(tmp_path, source.files, source.reader) if isinstance(row, dict)]
    examples = [to_example(row, source, list(HEADS)) for row in rows]
    assert [example["text"] for example in examples] == some["text"].tolist()
    assert {example["split"] for example in examples} == {"test"}
    for head in HEADS:
        assert [example[head] for example in examples] == [None if pd.isna(gold) else gold for gold in some[head]]
