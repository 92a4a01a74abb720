"""Term shifts: a planted shift is found with its sign and size, terms that do nothing get none, and the sentences fit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import expit

from data_prep.script import dominant_script
from evaluate.functional.terms import TERMS, term_cases, term_shifts

LANGUAGES = {"en", "ur", "ur-Latn", "ps", "fa", "ar", "hi", "bn"}
SCRIPTS = {"en": "Latn", "ur-Latn": "Latn", "hi": "Deva", "bn": "Beng"}
KINDS = {"group", "place", "honorific", "nationality", "religion"}
DOCUMENTS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in TERMS.glob("*.yaml")}


def answers(odds: dict[str, list[float]]) -> pd.DataFrame:
    """Terms and their log-odds in each template."""
    rows = [
        ("v", "en", "place", term, f"place_{number}", expit(value), value > 2)
        for term, values in odds.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["head", "language", "kind", "term", "template", "probability", "flagged"])


def test_a_shift_is_the_distance_from_the_templates_mean() -> None:
    """By hand: template means are 1 and -1; ruvel lies +2 and +1 above them, dalmire -2 and -1."""
    shifts = term_shifts(answers({"ruvel": [3.0, 0.0], "dalmire": [-1.0, -2.0]})).set_index("term")
    assert shifts.loc["ruvel", "shift"] == pytest.approx(1.5)
    assert shifts.loc["dalmire", "shift"] == pytest.approx(-1.5)
    assert shifts.loc["ruvel", ["templates", "flagged"]].tolist() == [2, 1]
    assert shifts.loc["ruvel", "probability"] == pytest.approx((expit(3.0) + 0.5) / 2)
    # two templates, drawn with replacement: the mean is 1, 1.5 or 2 with chances 1/4, 1/2, 1/4
    assert shifts.loc["ruvel", "low"] == pytest.approx(1.0)
    assert shifts.loc["ruvel", "high"] == pytest.approx(2.0)


def test_the_templates_own_scores_cancel_out() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0, 5, 40)
    noise = {term: rng.normal(0, 0.3, 40) for term in ("a", "b", "c")}
    shifts = term_shifts(answers({term: list(base + (term == "c") * 1.5 + noise[term]) for term in noise})).set_index("term")
    assert shifts.loc["c", "low"] > 0.8
    assert shifts.loc["c", "shift"] == pytest.approx(1.0, abs=0.2)  # 1.5 above the others is 1.0 above the mean of three
    assert shifts["shift"].sum() == pytest.approx(0)


def test_shifts_are_the_same_every_time() -> None:
    table = answers({"a": [1.0, 0.5, 0.2], "b": [0.1, 0.9, 0.4]})
    pd.testing.assert_frame_equal(term_shifts(table), term_shifts(table))


def test_every_language_has_every_kind_with_enough_templates() -> None:
    assert set(DOCUMENTS) == LANGUAGES
    for language, document in DOCUMENTS.items():
        head = (TERMS / f"{language}.yaml").read_text(encoding="utf-8").splitlines()[0].lower()
        assert "machine-assisted, not validated by native speakers" in head
        assert document["validated_by"] == ""
        assert set(document["kinds"]) == KINDS
        for kind, content in document["kinds"].items():
            assert len(content["templates"]) >= 6, (language, kind)
            assert len(content["terms"]) >= 6, (language, kind)
            assert all(template.count("{term}") == 1 for template in content["templates"]), (language, kind)
        assert {"shaheed", "mujahid", "fighter", "soldier"} <= set(document["kinds"]["honorific"]["terms"])
        assert {"zarnak_front", "kelmet_order", "quorrin_brigade"} <= set(document["kinds"]["group"]["terms"])
        assert {"dalmire", "ruvel"} <= set(document["kinds"]["place"]["terms"])


def test_a_key_without_a_value_is_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english = (TERMS / "en.yaml").read_text(encoding="utf-8")
    (tmp_path / "en.yaml").write_text(english.replace('validated_by: ""', "validated_by:"), encoding="utf-8")
    monkeypatch.setattr("evaluate.functional.terms.TERMS", tmp_path)
    assert set(term_cases()["validated_by"]) == {""}


def test_sentences_are_distinct_and_in_their_script() -> None:
    cases = term_cases()
    assert not cases.duplicated(["language", "text"]).any()
    assert not cases["text"].str.contains("[{}]").any()
    found = {(language, dominant_script(text)) for language, text in zip(cases["language"], cases["text"], strict=True)}
    assert found == {(language, SCRIPTS.get(language, "Arab")) for language in LANGUAGES}
