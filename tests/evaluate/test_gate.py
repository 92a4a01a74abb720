"""Tiers need evidence, and missing evidence never passes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data_prep.settings import to_settings
from evaluate.gate import assign_tier, judge
from evaluate.metrics import HeadFigures, head_figures
from evaluate.settings import EvaluateSettings, GateSettings


@pytest.fixture
def gate(compose_stage: Callable[..., Any]) -> GateSettings:
    settings: EvaluateSettings = to_settings(compose_stage("evaluate", "release=x"), EvaluateSettings)
    return settings.gate


def cell(negatives: int, positives: int, false_positives: int) -> HeadFigures:
    truth = np.asarray([0] * negatives + [1] * positives, dtype=np.int8)
    flagged = np.arange(negatives + positives) < false_positives
    return head_figures(flagged.astype(float), truth, flagged)


@pytest.mark.parametrize(
    ("negatives", "positives", "false_positives", "tier", "passed"),
    [
        (1000, 300, 0, "supported", True),
        (1000, 300, 19, "supported", True),  # upper bound 2.95%
        (1000, 300, 20, "provisional", True),  # upper bound 3.07%
        (1000, 299, 0, "provisional", True),
        (999, 300, 0, "provisional", True),
        (205, 100, 0, "provisional", True),
        (204, 100, 0, "not_evaluated", True),
        (205, 99, 0, "not_evaluated", True),
        (1000, 300, 30, "provisional", True),
        (1000, 300, 60, "not_evaluated", False),
        (205, 100, 20, "not_evaluated", False),
    ],
)
def test_tiers(gate: GateSettings, negatives: int, positives: int, false_positives: int, tier: str, passed: bool) -> None:
    verdict = assign_tier(cell(negatives, positives, false_positives), gate)
    assert (verdict.tier, verdict.passed) == (tier, passed)
    assert (verdict.reason == "") == (tier != "not_evaluated")


def test_reasons_say_what_is_missing(gate: GateSettings) -> None:
    assert assign_tier(cell(300, 20, 0), gate).reason == "300 negatives and 20 positives; provisional needs 205 and 100"
    assert assign_tier(cell(1000, 300, 60), gate).reason == "FPR may be as high as 7.6%; provisional allows 5%"


def test_a_release_without_any_evidence_fails(gate: GateSettings) -> None:
    made = judge({("a", "ur"): assign_tier(cell(10, 10, 0), gate)}, ["a"])
    assert not made.passed
    assert made.reasons == ["a: no language has enough evidence"]


def test_one_harsh_language_fails_the_release(gate: GateSettings) -> None:
    verdicts = {("a", "en"): assign_tier(cell(1000, 300, 0), gate), ("a", "ur"): assign_tier(cell(1000, 300, 100), gate)}
    assert not judge(verdicts, ["a"]).passed
    del verdicts["a", "ur"]
    verdicts["a", "ps"] = assign_tier(cell(3, 3, 3), gate)
    assert judge(verdicts, ["a"]).passed, "a language that abstains harms nobody"


def test_a_head_without_test_rows_fails(gate: GateSettings) -> None:
    verdicts = {("a", "en"): assign_tier(cell(1000, 300, 0), gate)}
    assert judge(verdicts, ["a"]).passed
    assert judge(verdicts, ["a", "b"]).reasons == ["b: no language has enough evidence"]
