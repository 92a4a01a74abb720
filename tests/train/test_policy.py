"""Calibration and thresholds: fitted on validation, per language only where the evidence allows."""

import numpy as np
from scipy.special import expit

from train.loss import MASKED
from train.policy import Policy, best_f1_threshold, fit_policy, fit_temperature
from train.settings import PolicySettings


def test_temperature_is_recovered_from_overconfident_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < expit(logits)).astype(np.int8)
    assert abs(fit_temperature(3 * logits, truth) - 3) < 0.15


def test_one_class_only_leaves_calibration_and_threshold_alone() -> None:
    truth = np.zeros(5, dtype=np.int8)
    assert fit_temperature(np.arange(5.0), truth) == 1
    assert best_f1_threshold(np.linspace(0, 1, 5), truth) == 0.5


def test_the_threshold_maximises_f1() -> None:
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    truth = np.array([1, 1, 0, 1, 0, 0], dtype=np.int8)
    # flagging the first four gives precision 3/4, recall 1, F1 6/7: the best of all cuts
    assert 0.2 < best_f1_threshold(probabilities, truth) < 0.6


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
    assert (policy.heads["b"].temperature, policy.heads["b"].threshold) == (1.0, 0.5)


def test_json_round_trip() -> None:
    policy, _ = fitted()
    assert Policy.from_json(policy.to_json()) == policy
