"""Resampling families: the draws are those of weighted figures, and the intervals cover."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from evaluate.bootstrap import FIGURES, bootstrap_figures, family_weights, interval, reflected_interval, subgroup_aucs
from evaluate.group_metric import GroupMetric
from evaluate.metrics import expected_calibration_error, wilson

Rows = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64]]


def make_rows(count: int, families: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.3).astype(np.int8)
    scores = 1 / (1 + np.exp(-(rng.normal(size=count) + 1.5 * truth - 1)))
    return np.round(scores, 2), truth, np.unique(rng.integers(0, families, count), return_inverse=True)[1]  # rounded: there are ties


def test_as_many_families_are_drawn_as_there_are() -> None:
    blocks = list(family_weights(50, 300, seed=3))
    weights = np.concatenate(blocks, axis=1)
    assert weights.shape == (50, 300)
    assert (weights.sum(axis=0) == 50).all()
    assert weights.mean(axis=1) == pytest.approx(1, abs=0.3)


def test_every_draw_is_the_figure_of_the_drawn_rows() -> None:
    scores, truth, families = make_rows(200, 120)
    group = np.flatnonzero(np.arange(200) % 3 > 0)
    draws = bootstrap_figures(scores, truth, scores >= 0.5, families, [np.arange(200), group], draws=20, seed=1)
    assert {name: values.shape for name, values in draws.items()} == dict.fromkeys((*FIGURES, "fpr", "fnr"), (2, 20))
    weights = next(family_weights(int(families.max()) + 1, 20, seed=1)).astype(int)
    for draw in range(20):
        rows = np.repeat(group, weights[families[group], draw])
        assert draws["f1"][1, draw] == pytest.approx(f1_score(truth[rows], scores[rows] >= 0.5), abs=1e-6)
        assert draws["auroc"][1, draw] == pytest.approx(roc_auc_score(truth[rows], scores[rows]), abs=1e-6)
        assert draws["brier"][1, draw] == pytest.approx(float(np.mean((scores[rows] - truth[rows]) ** 2)), abs=1e-6)
        assert draws["fpr"][1, draw] == pytest.approx(float((scores[rows] >= 0.5)[truth[rows] == 0].mean()), abs=1e-6)


def test_the_calibration_error_of_a_draw_keeps_the_bins() -> None:
    scores, truth, families = make_rows(100, 100)
    once = np.ones((int(families.max()) + 1, 1))
    draws = bootstrap_figures(scores, truth, scores >= 0.5, families, [np.arange(100)], draws=400)
    assert draws["ece"].mean() >= expected_calibration_error(scores, truth) - 0.02, "noise can only raise it"
    assert len(once) == int(families.max()) + 1


def test_copies_of_rows_do_not_narrow_an_interval() -> None:
    scores, truth, _ = make_rows(80, 80)
    once = bootstrap_figures(scores, truth, scores >= 0.5, np.arange(80), [np.arange(80)], draws=200)
    thrice = bootstrap_figures(
        np.repeat(scores, 3), np.repeat(truth, 3), np.repeat(scores, 3) >= 0.5, np.repeat(np.arange(80), 3), [np.arange(240)], draws=200
    )
    for name in ("f1", "auroc", "auprc", "brier"):
        np.testing.assert_allclose(once[name], thrice[name], atol=1e-6)


def test_subgroup_aucs_are_those_of_the_metric_module() -> None:
    scores, truth, families = make_rows(400, 300)
    names = np.asarray(["a", "b", "c"])[np.arange(400) % 3]
    made = subgroup_aucs(scores, truth, families, {name: np.flatnonzero(names == name) for name in "abc"}, draws=100)
    expected = GroupMetric(keep_in_memory=True).compute(predictions=scores, references=truth, groups=names.tolist())
    for name in "abc":
        for figure in ("subgroup_auc", "bpsn_auc", "bnsp_auc"):
            assert made[name][figure].value == pytest.approx(expected[name][figure], abs=1e-6)
            assert made[name][figure].low < made[name][figure].value < made[name][figure].high


def test_a_group_without_positives_has_only_one_auc() -> None:
    scores, truth, families = make_rows(100, 100)
    made = subgroup_aucs(scores, truth, families, {"negatives": np.flatnonzero(truth == 0)}, draws=50)["negatives"]
    assert (made["subgroup_auc"].value, made["bnsp_auc"].value) == (None, None)
    assert made["bpsn_auc"].value == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)


def test_a_perfect_figure_is_not_certain() -> None:
    made = interval(1.0, np.ones(100), smaller_class=20)
    assert (made.low, made.high) == wilson(20, 20)
    assert interval(None, np.ones(100), 20).low is None
    assert interval(0.5, np.asarray([np.nan, np.nan]), 20).value is None


def test_a_figure_that_noise_raises_is_reflected() -> None:
    made = reflected_interval(0.05, np.linspace(0.05, 0.09, 101))
    assert (made.low, made.high) == (pytest.approx(0.011, abs=1e-9), pytest.approx(0.049, abs=1e-9))
    assert reflected_interval(0.01, np.linspace(0.01, 0.09, 101)).low == 0


def test_intervals_cover_the_truth() -> None:
    """A quick look, 300 test sets of 200 rows in families; benchmarks/coverage.py does it in full."""
    truth_of_auroc, hits = 0.7602, 0  # of a normal score with means 1 apart: Phi(1 / sqrt(2))
    rng = np.random.default_rng(5)
    for _ in range(300):
        families = np.repeat(np.arange(100), 2)
        truth = np.repeat((rng.random(100) < 0.4).astype(np.int8), 2)
        latent = np.repeat(rng.normal(size=100), 2) * np.sqrt(0.5) + rng.normal(size=200) * np.sqrt(0.5)
        scores = latent + truth
        draws = bootstrap_figures(scores, truth, scores > 0.5, families, [np.arange(200)], draws=300)
        made = interval(float(roc_auc_score(truth, scores)), draws["auroc"][0], int(min(truth.sum(), 200 - truth.sum())))
        assert made.low is not None
        assert made.high is not None
        hits += made.low <= truth_of_auroc <= made.high
    assert 0.91 <= hits / 300 <= 0.985
