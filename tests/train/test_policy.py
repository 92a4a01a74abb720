"""Calibration and thresholds: fitted on validation, per language only where the evidence allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import f1_score, precision_recall_curve

from data_prep.command import UserError
from train.labels import MASKED
from train.policy import (
    HeadPolicy,
    Policy,
    best_f1_threshold,
    calibrated,
    choose_threshold,
    fit_calibration,
    fit_policy,
    shrink_temperature,
    threshold_for_fpr,
)
from train.settings import PolicySettings


def test_temperature_and_intercept_are_recovered() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < expit(logits - 1)).astype(np.int8)
    temperature, intercept = fit_calibration(3 * logits, truth)
    assert abs(temperature - 3) < 0.15
    assert abs(intercept + 1) < 0.08
    assert fit_calibration(3 * logits, truth, temperature)[1] == pytest.approx(intercept, abs=1e-4)
    assert fit_calibration(3 * logits, truth, 6.0)[0] == pytest.approx(6), "a temperature that is given stays"


@given(st.lists(st.tuples(st.floats(-20, 20), st.sampled_from([0, 1])), min_size=2, max_size=30))
def test_calibrated_probabilities_have_the_mean_of_the_smoothed_labels(rows: list[tuple[float, int]]) -> None:
    logits, truth = np.asarray([logit for logit, _ in rows]), np.asarray([label for _, label in rows], dtype=np.int8)
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    temperature, intercept = fit_calibration(logits, truth)
    assert 0.05 <= temperature <= 20.001
    if positives and negatives:  # where the derivative by the intercept is 0
        wanted = (positives * (positives + 1) / (positives + 2) + negatives / (negatives + 2)) / len(rows)
        assert calibrated(logits, temperature, intercept).mean() == pytest.approx(wanted, abs=1e-3)


def test_classes_that_part_stay_a_little_uncertain() -> None:
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    apart = calibrated(logits, *fit_calibration(logits, np.array([0, 0, 1, 1], dtype=np.int8)))
    assert 0.1 < apart[0] < 0.3, "one of four rows would be wrong, as far as two of a class can tell"


def test_one_class_only_leaves_calibration_and_threshold_alone() -> None:
    truth = np.zeros(5, dtype=np.int8)
    assert fit_calibration(np.arange(5.0), truth) == (1, 0)
    assert choose_threshold(np.linspace(0, 1, 5), truth, PolicySettings()) == 0.5


def test_the_threshold_maximises_expected_f1() -> None:
    # of 3.3 positives to be expected, the first four are 3.0: F1 6.0 / 7.3; the first three 4.8 / 6.3, the first five 6.4 / 8.3
    assert best_f1_threshold(np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])) == pytest.approx(0.4)


@given(st.lists(st.sampled_from([0.05, 0.2, 0.3, 0.31, 0.6, 0.9]), min_size=1, max_size=30))
def test_no_threshold_has_a_better_expected_f1(drawn: list[float]) -> None:
    probabilities = np.asarray(drawn)
    expected = [
        2 * probabilities[probabilities >= threshold].sum() / ((probabilities >= threshold).sum() + probabilities.sum())
        for threshold in (best_f1_threshold(probabilities), *probabilities)
    ]
    assert expected[0] == pytest.approx(max(expected))


def test_few_positives_tell_a_better_threshold_than_their_own_best_f1() -> None:
    rng = np.random.default_rng(0)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        truth = (rng.random(count) < 0.08).astype(np.int8)
        return rng.normal(2.0 * truth - 3, 1.2), truth

    many, gold = rows(50_000)
    reached = []
    for _ in range(40):
        logits, truth = rows(600)
        line = fit_calibration(logits, truth)
        precision, recall, thresholds = precision_recall_curve(truth, logits)
        luckiest = many >= thresholds[np.argmax((precision * recall)[:-1] / np.maximum(precision + recall, 1e-12)[:-1])]
        expected_best = calibrated(many, *line) >= best_f1_threshold(calibrated(logits, *line))
        reached.append([f1_score(gold, flags) for flags in (expected_best, luckiest)])
    expected, lucky = np.mean(reached, axis=0)
    assert expected > lucky + 0.005


def fitted() -> tuple[Policy, PolicySettings]:
    """Two heads; `big` has its own evidence and shifted scores, `small` has not."""
    rng = np.random.default_rng(1)
    settings = PolicySettings(min_negatives=100, min_positives=50)
    languages = ["big"] * 400 + ["small"] * 100
    truth = rng.integers(0, 2, 500)
    logits = (4 * truth - 2 + rng.normal(0, 1, 500) + np.asarray([3.0] * 400 + [0.0] * 100))[:, None].repeat(2, axis=1)
    labels = truth[:, None].repeat(2, axis=1).astype(np.int8)
    labels[:, 1] = MASKED
    labels[:300, 0] = np.where(np.arange(300) < 290, labels[:300, 0], MASKED)
    return fit_policy(logits.astype(np.float32), labels, languages, ["a", "b"], settings), settings


def test_a_language_without_evidence_shares_the_global_threshold() -> None:
    policy, _ = fitted()
    assert set(policy.heads["a"].languages) == {"big"}
    assert policy.heads["a"].threshold_of("big") > policy.heads["a"].threshold, "its scores are shifted upwards"
    assert policy.heads["a"].threshold_of("small") == policy.heads["a"].threshold
    assert policy.heads["a"].threshold_of("never seen") == policy.heads["a"].threshold


def test_overrides_need_both_classes_of_evidence() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([np.zeros(300), np.ones(60)]).astype(np.int8)
    logits = (truth * 2 - 1 + rng.normal(0, 1, 360)).astype(np.float32)[:, None]
    for negatives, positives, expected in ((205, 50, {"x"}), (301, 50, set()), (205, 61, set())):
        settings = PolicySettings(min_negatives=negatives, min_positives=positives)
        policy = fit_policy(logits, truth[:, None], ["x"] * 360, ["a"], settings)
        assert set(policy.heads["a"].languages) == expected
    assert policy.tiers == {"a": {}}, "training never claims a tier"


def test_a_head_nobody_judged_keeps_one_half() -> None:
    policy, _ = fitted()
    assert (policy.heads["b"].temperature, policy.heads["b"].intercept, policy.heads["b"].threshold) == (1.0, 0.0, 0.5)


def test_json_round_trip() -> None:
    policy, _ = fitted()
    assert Policy.from_json(policy.to_json()) == policy


def test_a_policy_of_an_earlier_version_can_be_read() -> None:
    own = {"ur": {"threshold": 0.3, "negatives": 9, "positives": 9}}
    head = {"temperature": 2.0, "threshold": 0.4, "review_band": 0.1, "languages": own}
    read = Policy.from_json({"heads": {"a": head}, "tiers": {"a": {}}}).heads["a"]
    np.testing.assert_allclose(read.probability([2.0, 2.0], ["en", "ur"]), expit(1))


def test_the_review_band_is_one_of_odds() -> None:
    policy = HeadPolicy(1.0, 0.0, 0.5, review_odds=1.5)
    asked = np.array([0.39, 0.41, 0.59, 0.61])
    assert policy.near_threshold(asked, np.full(4, 0.5)).tolist() == [False, True, True, False]
    # odds of 1 to 19 are the threshold's; 1 to 28.5 and 1 to 12.67 end the band
    assert policy.near_threshold(np.array([0.0, 0.033, 0.035, 0.07, 0.08]), np.full(5, 0.05)).tolist() == [False, False, True, True, False]
    assert not policy.near_threshold(np.array([0.0, 1.0]), np.array([0.0, 1.0])).any(), "whoever flags all or nothing asks nobody"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_false_positive_rate_never_lowers_the_threshold(negatives: list[float], one: float, other: float) -> None:
    scores, (strict, lax) = np.asarray(negatives), sorted((one, other))
    assert threshold_for_fpr(scores, strict) >= threshold_for_fpr(scores, lax)
    assert (scores >= threshold_for_fpr(scores, strict)).mean() <= strict + 1e-9


def test_targets_choose_what_they_say() -> None:
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    truth = np.array([1, 1, 0, 1, 0, 0], dtype=np.int8)
    for target, value, flagged in (("fpr", 0.0, 2), ("fpr", 0.34, 4), ("precision", 0.75, 4), ("precision", 0.9, 2), ("f1", 0.0, 4)):
        threshold = choose_threshold(probabilities, truth, PolicySettings(target=target, target_value=value))
        assert (probabilities >= threshold).sum() == flagged, (target, value)
    with pytest.raises(UserError, match=r"policy.target=recall is unknown"):
        fit_policy(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.int8), ["en", "en"], ["a"], PolicySettings(target="recall"))


def test_a_temperature_moves_from_the_heads_to_its_own_with_evidence() -> None:
    temperatures = [shrink_temperature(3.0, 1.0, evidence, 100) for evidence in (0, 10, 100, 10_000)]
    assert temperatures == sorted(temperatures)
    assert temperatures[0] == pytest.approx(1)
    assert temperatures[-1] == pytest.approx(3, rel=0.02)


def test_a_language_that_is_too_sure_gets_a_higher_temperature_and_better_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 8_000)
    truth = (rng.random(8_000) < expit(logits)).astype(np.int8)
    languages = ["en"] * 4_000 + ["ur"] * 4_000
    scores = np.where(np.asarray(languages) == "ur", 4 * logits, logits).astype(np.float32)[:, None]
    policy = fit_policy(scores, truth[:, None], languages, ["a"], PolicySettings()).heads["a"]
    assert policy.of("ur").temperature > 3 > 1.5 > policy.of("en").temperature
    wrong = [np.abs(policy.probability(scores[:, 0], spoken) - expit(logits)).mean() for spoken in (None, languages)]
    assert wrong[1] < wrong[0] / 2


def test_a_language_with_fewer_positives_than_training_drew_gets_probabilities_that_are_lower() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 8_000)
    languages = ["en"] * 4_000 + ["ur"] * 4_000
    shift = np.where(np.asarray(languages) == "ur", -3.0, 0.0)
    truth = (rng.random(8_000) < expit(logits + shift)).astype(np.int8)
    policy = fit_policy(logits.astype(np.float32)[:, None], truth[:, None], languages, ["a"], PolicySettings()).heads["a"]
    assert np.abs(policy.probability(logits, languages) - expit(logits + shift)).mean() < 0.02
    assert policy.of("ur").intercept == pytest.approx(-3, abs=0.3)
    assert policy.of("en").intercept == pytest.approx(0, abs=0.2)


def test_no_languages_neutral_text_is_flagged_more_often_than_allowed() -> None:
    rng = np.random.default_rng(0)
    languages = ["en"] * 1_000 + ["ar"] * 100 + ["bal"] * 20
    truth = np.concatenate([np.arange(1_000) % 2, np.zeros(120)]).astype(np.int8)
    logits = (4.0 * truth - 2 + rng.normal(0, 1, 1_120)).astype(np.float32)
    logits[1_000:1_010] = 1.0  # a tenth of the Arabic neutral sentences look like propaganda
    logits[1_100:] = 5.0  # 20 rows are too few to move everybody's threshold
    neutral = np.asarray([language != "en" for language in languages])[:, None]
    settings = PolicySettings(max_neutral_fpr=0.02)
    plain = fit_policy(logits[:, None], truth[:, None], languages, ["a"], settings).heads["a"]
    spared = fit_policy(logits[:, None], truth[:, None], languages, ["a"], settings, neutral).heads["a"]
    arabic = spared.probability(logits[1_000:1_100])
    assert (plain.probability(logits[1_000:1_100]) >= plain.threshold).mean() > 0.02
    assert (arabic >= spared.threshold).mean() <= 0.02
    assert spared.of("en").threshold == plain.of("en").threshold, "a language with a threshold of its own keeps it"
