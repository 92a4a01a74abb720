"""Pass rates, intervals and consistency of a few cases whose answers are known, against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluate.functional.__main__ import heat_table
from evaluate.functional.cases import functional_cases
from evaluate.functional.scoring import answer_cases, hard_negative_rates, pair_consistency, pass_rates
from export.artifact import open_artifact
from tests.conftest import run_stage_process


@pytest.fixture
def tiny_release(tiny_workspace: Path) -> Path:
    return tiny_workspace / "releases" / "tiny"


def answers(*rows: tuple[str, str, str, str, int, bool], language: str = "en") -> pd.DataFrame:
    """Lines of (case, functionality, refers to, head, gold, flagged)."""
    table = pd.DataFrame(rows, columns=["case_id", "functionality", "ref_case_id", "head", "gold", "flagged"])
    derived = ["leet" if functionality.startswith("obfuscation") else "" for functionality in table["functionality"]]
    named = ["NEWS" if functionality == "news" else "" for functionality in table["functionality"]]
    return table.assign(
        language=language, template_id=table["case_id"].str[0], derived=derived, hard_negative=named, abstains=True,
        passed=table["flagged"] == (table["gold"] == 1),
    )  # fmt: skip


EXAMPLE = answers(
    ("a1", "news", "r1", "p", 0, False),
    ("a1", "news", "r1", "v", 0, False),
    ("a2", "news", "r2", "p", 0, False),
    ("a2", "news", "r2", "v", 0, True),  # wrong on one head: the case fails
    ("r1", "relay", "", "p", 1, True),
    ("r1", "relay", "", "v", 0, False),
    ("r2", "relay", "", "p", 1, True),
    ("r2", "relay", "", "v", 0, False),
    ("o1", "obfuscation_negative", "a1", "p", 0, True),  # flipped
    ("o1", "obfuscation_negative", "a1", "v", 0, False),
    ("o2", "obfuscation_negative", "a2", "p", 0, False),
    ("o2", "obfuscation_negative", "a2", "v", 0, True),  # as wrong as before: consistent
)


def test_a_case_passes_when_every_head_is_right() -> None:
    rates = pass_rates(EXAMPLE).set_index("functionality")
    assert rates.loc["news", ["cases", "templates", "passed", "rate"]].tolist() == [2, 1, 1, 0.5]
    assert rates.loc["relay", ["cases", "passed"]].tolist() == [2, 2]
    assert rates["abstains"].all()
    by_head = pass_rates(EXAMPLE, ["head", "functionality", "language"]).set_index(["head", "functionality"])
    assert by_head.loc[("p", "news"), "passed"] == 2
    assert by_head.loc[("v", "news"), "passed"] == 1


def test_intervals_are_wilsons() -> None:
    """By hand for 1 of 2: z = 1.959964; centre (0.5 + z2/4)/(1 + z2/2) = 0.5, half width z sqrt(0.125 + z2/16)/(1 + z2/2) = 0.4055."""
    rates = pass_rates(EXAMPLE).set_index("functionality")
    assert rates.loc["news", "low"] == pytest.approx(0.0945, abs=1e-4)
    assert rates.loc["news", "high"] == pytest.approx(0.9055, abs=1e-4)
    assert rates.loc["relay", "low"] == pytest.approx(2 / (2 + 1.959964**2), abs=1e-6)  # all of n passed: n / (n + z2)
    assert rates.loc["relay", "high"] == pytest.approx(1)


def test_hard_negatives_count_templates_own_cases_only() -> None:
    rates = hard_negative_rates(EXAMPLE)
    assert rates[["hard_negative", "cases", "passed"]].to_numpy().tolist() == [["NEWS", 2, 1]]


def test_pairs_are_consistent_when_both_pass_and_derived_cases_when_nothing_flips() -> None:
    pairs = pair_consistency(EXAMPLE).set_index("kind")
    assert pairs.loc["contrast", ["functionality", "pairs", "consistent"]].tolist() == ["news", 2, 1]
    assert pairs.loc["derived", ["functionality", "pairs", "consistent"]].tolist() == ["obfuscation_negative", 2, 1]


def test_the_heat_table_marks_languages_that_abstain() -> None:
    certain = answers(("a1", "news", "", "p", 0, False), language="ur").assign(abstains=False)
    shown = heat_table(pass_rates(pd.concat([EXAMPLE, certain])))
    assert "en*" in shown
    assert "ur*" not in shown
    assert "every post of this language to review" in shown
    assert "50%" in shown


def test_answers_are_the_artifacts_own(tiny_release: Path) -> None:
    classifier = open_artifact(tiny_release / "artifact")
    cases = functional_cases()
    some = cases.groupby(["functionality", "language"]).head(1).reset_index(drop=True)
    table = answer_cases(classifier, some)
    assert len(table) == int(some[["propaganda", "violence_glorification"]].notna().sum().sum())
    posts = [{"text": text, "language": language} for text, language in zip(some["text"], some["language"], strict=True)]
    predicted = dict(zip(some["case_id"], classifier.predict(posts), strict=True))
    expected = [predicted[case][head]["probability"] for case, head in zip(table["case_id"], table["head"], strict=True)]
    np.testing.assert_allclose(table["probability"], expected, atol=2e-6)
    assert (table["flagged"] == (table["probability"] >= table["threshold"])).all()
    for line in table.itertuples():
        policy = classifier.policy["heads"][line.head]
        assert line.threshold == policy["languages"].get(line.language, policy)["threshold"]
        assert line.abstains == (classifier.policy["tiers"].get(line.head, {}).get(line.language, "not_evaluated") == "not_evaluated")


def test_the_command_writes_every_table(tiny_release: Path) -> None:
    process = run_stage_process(
        "evaluate.functional", f"release={tiny_release.name}", f"releases_dir={tiny_release.parent}", "resamples=50"
    )
    assert process.returncode == 0, process.stderr
    folder = tiny_release / "functional" / "project"
    assert "rights_documentation" in process.stdout
    assert "not validated by native speakers" in process.stdout
    assert str(folder / "pass_rates.csv") in process.stdout
    report = json.loads((folder / "functional.json").read_text(encoding="utf-8"))
    rates = pd.read_csv(folder / "pass_rates.csv")
    assert len(rates) == len(report["pass_rates"])
    assert rates["cases"].sum() == len(functional_cases()) == len(pd.read_csv(folder / "cases.csv"))
    assert "text" not in pd.read_csv(folder / "answers.csv", nrows=1)
    assert report["unvalidated"] == sorted(set(rates["language"]))


def test_a_release_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    process = run_stage_process("evaluate.functional", "release=none", f"releases_dir={tmp_path}")
    assert process.returncode == 2
    assert process.stderr.startswith("error: no artifact at")
