"""The policy: how a logit becomes a calibrated probability and a probability a decision, per head and language.

Fitted on the validation split at the end of training, never on test. It travels as `policy.json`:

    {"heads": {head: {"temperature": float, "threshold": float, "review_band": float,
                      "languages": {language: {"threshold": float, "negatives": int, "positives": int}}}},
     "tiers": {head: {language: "supported" | "provisional" | "not_evaluated"}}}

A language that `tiers` does not name is not evaluated, and its posts all go to review.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import precision_recall_curve

from train.loss import MASKED
from train.settings import PolicySettings

Floats = npt.NDArray[np.float64]
NOT_EVALUATED = "not_evaluated"


@dataclass
class LanguageThreshold:
    """A language's own threshold, and the validation rows it rests on."""

    threshold: float
    negatives: int
    positives: int


@dataclass
class HeadPolicy:
    """Calibration and threshold of one head; the threshold is a calibrated probability."""

    temperature: float
    threshold: float
    review_band: float
    languages: dict[str, LanguageThreshold] = field(default_factory=dict)

    def probability(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated probabilities of logits."""
        return np.asarray(expit(np.asarray(logits, dtype=np.float64) / self.temperature))

    def threshold_of(self, language: str) -> float:
        """The threshold that applies to a language."""
        own = self.languages.get(language)
        return own.threshold if own else self.threshold


@dataclass
class Policy:
    """One `HeadPolicy` per head, and the evidence tier of each language."""

    heads: dict[str, HeadPolicy]
    tiers: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of `policy.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Policy":
        """The inverse of `to_json`."""
        heads = {}
        for name, head in document["heads"].items():
            own = {language: LanguageThreshold(**value) for language, value in head["languages"].items()}
            heads[name] = HeadPolicy(head["temperature"], head["threshold"], head["review_band"], own)
        return cls(heads, document["tiers"])


def fit_policy(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], languages: Sequence[str], heads: Sequence[str], settings: PolicySettings
) -> Policy:
    """Fit temperature and thresholds on validation rows.

    The threshold is the one with the best F1 over all languages; a language with enough negatives and
    positives of its own gets its own. A head without both classes in validation keeps probability 0.5.

    Parameters
    ----------
    logits, labels
        Shape (rows, heads); labels are 1, 0 or `MASKED`.
    """
    language_of = np.asarray(languages)
    fitted = {}
    for column, head in enumerate(heads):
        judged = labels[:, column] != MASKED
        truth, scores, spoken = labels[judged, column], logits[judged, column].astype(np.float64), language_of[judged]
        temperature = fit_temperature(scores, truth)
        policy = HeadPolicy(temperature, 0.5, settings.review_band)
        probabilities = policy.probability(scores)
        policy.threshold = best_f1_threshold(probabilities, truth)
        for language in sorted(set(spoken.tolist())):
            rows = spoken == language
            positives, negatives = int((truth[rows] == 1).sum()), int((truth[rows] == 0).sum())
            if negatives >= settings.min_negatives and positives >= settings.min_positives:
                threshold = best_f1_threshold(probabilities[rows], truth[rows])
                policy.languages[language] = LanguageThreshold(threshold, negatives, positives)
        fitted[head] = policy
    return Policy(fitted, {head: {} for head in heads})


def fit_temperature(logits: Floats, truth: npt.NDArray[np.int8]) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017), within [0.05, 20]; 1 without both classes."""
    if len(np.unique(truth)) < 2:
        return 1.0

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - truth * scaled))

    result = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(result.x))


def best_f1_threshold(probabilities: Floats, truth: npt.NDArray[np.int8]) -> float:
    """The threshold with the best F1, half-way to the next lower score so that rounding cannot flip a row; 0.5 without both classes.

    >>> round(best_f1_threshold(np.array([0.1, 0.2, 0.6, 0.8]), np.array([0, 0, 1, 1], dtype=np.int8)), 6)
    0.4
    """
    if len(np.unique(truth)) < 2:
        return 0.5
    precision, recall, thresholds = precision_recall_curve(truth, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    below = probabilities[probabilities < best]
    return float((best + below.max()) / 2) if len(below) else best
