"""The aggregates over languages that choose a checkpoint."""

import numpy as np

from train.labels import MASKED
from train.validation import language_metrics


def test_macro_and_worst_run_over_languages_with_evidence() -> None:
    good, bad = np.linspace(-1, 1, 20), np.linspace(1, -1, 20)
    truth = (np.arange(20) >= 10).astype(np.int8)
    logits = np.concatenate([good, bad, [9.0]])[:, None].astype(np.float32)
    labels = np.concatenate([truth, truth, [0]])[:, None].astype(np.int8)
    metrics = language_metrics(logits, labels, ["en"] * 20 + ["ur"] * 20 + ["ps"], ["a"])
    assert metrics["a/en/auroc"] == 1
    assert metrics["a/ur/auroc"] == 0
    assert "a/ps/auroc" not in metrics
    assert (metrics["macro_auroc"], metrics["worst_auroc"]) == (0.5, 0.0)


def test_masked_rows_do_not_count() -> None:
    truth = np.asarray([0, 1] * 6 + [MASKED], dtype=np.int8)
    logits = np.asarray([-1, 1] * 6 + [99], dtype=np.float32)
    assert language_metrics(logits[:, None], truth[:, None], ["en"] * 13, ["a"])["a/en/f1"] == 1


def test_without_evidence_the_aggregate_is_the_worst_value() -> None:
    metrics = language_metrics(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int8), ["en"], ["a"])
    assert metrics["macro_auprc"] == metrics["worst_f1"] == 0
