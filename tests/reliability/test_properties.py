"""What must hold for every input: splits, policies and figures, on inputs that hypothesis makes (the others stand with their modules)."""

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.settings import MixtureSettings
from data_prep.splits import assign_splits, drop_leaking
from evaluate.metrics import Estimate, head_figures
from export.client import decide
from tests.data_prep.test_duplicates import frame, row, with_families
from train.policy import HeadPolicy, LanguagePolicy, Policy

OFFICIAL = st.sampled_from([None, "train", "validation", "test"])
ROWS = st.lists(st.tuples(st.text("abc", min_size=1, max_size=4), OFFICIAL, st.sampled_from([None, "f", "g"])), min_size=1, max_size=25)


@settings(max_examples=25)  # each is a table
@given(ROWS)
def test_a_family_is_in_one_split_and_no_row_is_lost(rows: list[tuple[str, str | None, str | None]]) -> None:
    table = with_families(frame(*(row(text, split=split, family=family) for text, split, family in dict.fromkeys(rows))))
    kept, leaking = drop_leaking(assign_splits(table, ["propaganda"], MixtureSettings(name="m"), {}))
    assert kept.groupby("family")["split"].nunique().eq(1).all()
    assert set(kept["split"]) <= {"train", "validation", "test"}
    assert sorted([*kept.index, *leaking.index]) == sorted(table.index)
    official = kept[kept["official"] < 3]
    assert (official["split"] == official["official"].map({0: "test", 1: "validation", 2: "train"})).all(), "an official row stays"


TEMPERATURES, INTERCEPTS, SHARES, COUNTS = st.floats(0.05, 20), st.floats(-20, 20), st.floats(0, 1), st.integers(0, 10**6)
LANGUAGES = st.dictionaries(st.text(max_size=8), st.builds(LanguagePolicy, TEMPERATURES, INTERCEPTS, SHARES, COUNTS, COUNTS), max_size=3)
HEADS = st.builds(HeadPolicy, TEMPERATURES, INTERCEPTS, SHARES, st.floats(1, 100), LANGUAGES)
TIERS = st.dictionaries(st.text(max_size=8), st.sampled_from(["supported", "provisional", "not_evaluated"]), max_size=3)


@given(HEADS, TIERS, st.floats(-1e6, 1e6), st.text(max_size=8))
def test_the_clients_decision_is_the_policys(head: HeadPolicy, tiers: dict[str, str], logit: float, language: str) -> None:
    policy = Policy({"propaganda": head}, {"propaganda": tiers})
    document = json.loads(json.dumps(policy.to_json()))
    assert Policy.from_json(document) == policy
    for spoken in (language, *head.languages, *tiers):
        probability, decision = decide(document, "propaganda", spoken, logit)
        wanted = float(head.probability([logit], [spoken])[0])
        assert math.isclose(probability, wanted, abs_tol=1e-12)
        if tiers.get(spoken, "not_evaluated") == "not_evaluated":
            assert decision == "review"
        elif not head.near_threshold(np.array(probability), np.array(head.threshold_of(spoken))):
            assert decision == ("flag" if probability >= head.threshold_of(spoken) else "pass")
        else:
            assert decision == "review"


@given(HEADS, st.floats(-100, 100), st.floats(0, 100))
def test_a_larger_logit_is_never_less_probable(head: HeadPolicy, logit: float, more: float) -> None:
    low, high = head.probability([logit, logit + more])
    assert 0 <= low <= high <= 1


JUDGED = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 1]), st.booleans(), st.integers(0, 4)), min_size=1, max_size=60)


@given(JUDGED, st.randoms())
def test_figures_are_shares_and_know_no_order(rows: list[tuple[float, int, bool, int]], generator: Any) -> None:
    def figures(of: list[tuple[float, int, bool, int]]) -> Any:
        probabilities, truth, flagged, families = (np.asarray(column) for column in zip(*of, strict=True))
        return head_figures(probabilities.astype(float), truth.astype(np.int8), flagged.astype(bool), None, families.astype(np.int64))

    one = figures(rows)
    shuffled = list(rows)
    generator.shuffle(shuffled)
    other = figures(shuffled)
    assert one.positives + one.negatives == one.n == len(rows)
    for field in fields(one):
        here, there = getattr(one, field.name), getattr(other, field.name)
        if isinstance(here, Estimate) and field.name not in ("ece",):  # its bins cut through rows of one probability
            assert (here.value is None) == (there.value is None)
            if here.value is not None:
                assert here.value == pytest.approx(there.value)
                assert -1e-12 <= here.value <= 1 + 1e-12
                assert here.low is None or here.low <= here.value + 1e-9
                assert here.high is None or here.value <= here.high + 1e-9
