"""Ranking figures of weighted rows are scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from train.ranking import weighted_ranking


@given(st.integers(0, 2**32))
def test_weighted_ranking_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 60).astype(np.int8)
    scores = np.round(rng.normal(size=60) + truth, 1)  # rounded: there are ties
    weights = rng.integers(0, 4, (60, 5)).astype(np.float32)
    auroc, auprc = weighted_ranking(scores, truth, weights)
    for draw in range(5):
        drawn = weights[:, draw]
        if len(np.unique(truth[drawn > 0])) < 2:
            assert np.isnan(auroc[draw])
            continue
        assert auroc[draw] == pytest.approx(roc_auc_score(truth, scores, sample_weight=drawn), abs=1e-6)
        assert auprc[draw] == pytest.approx(average_precision_score(truth, scores, sample_weight=drawn), abs=1e-6)
