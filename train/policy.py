"""The policy: how a logit becomes a calibrated probability and a probability a decision, per head and language.

Fitted on the validation split at the end of training, never on test. It travels as `policy.json`:

    {"heads": {head: {"temperature": float, "threshold": float, "review_band": float,
                      "languages": {language: {"temperature": float, "threshold": float, "negatives": int, "positives": int}}}},
     "tiers": {head: {language: "supported" | "provisional" | "not_evaluated"}}}

A language that `tiers` does not name is not evaluated, and its posts all go to review.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve

from data_prep.command import UserError
from train.labels import MASKED
from train.settings import PolicySettings

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
NOT_EVALUATED = "not_evaluated"


@dataclass
class LanguagePolicy:
    """A language's own temperature and threshold, and the validation rows they rest on."""

    temperature: float
    threshold: float
    negatives: int
    positives: int


@dataclass
class HeadPolicy:
    """Calibration and threshold of one head; the threshold is a calibrated probability."""

    temperature: float
    threshold: float
    review_band: float
    languages: dict[str, LanguagePolicy] = field(default_factory=dict)

    def probability(self, logits: npt.ArrayLike, languages: Sequence[str] | None = None) -> Floats:
        """Calibrated probabilities of logits, each by its language's temperature; without languages by the head's."""
        temperature = self.temperature if languages is None else np.asarray([self.of(language).temperature for language in languages])
        return np.asarray(expit(np.asarray(logits, dtype=np.float64) / temperature))

    def threshold_of(self, language: str) -> float:
        """The threshold that applies to a language."""
        return self.of(language).threshold

    def of(self, language: str) -> "LanguagePolicy | HeadPolicy":
        """What applies to a language: its own where it has the evidence, or the head's."""
        return self.languages.get(language, self)


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
        """The inverse of `to_json`; a language without a temperature of its own has the head's."""
        heads = {}
        for name, head in document["heads"].items():
            own = {
                language: LanguagePolicy(**{"temperature": head["temperature"], **value}) for language, value in head["languages"].items()
            }
            heads[name] = HeadPolicy(head["temperature"], head["threshold"], head["review_band"], own)
        return cls(heads, document["tiers"])


def fit_policy(
    logits: npt.NDArray[np.float32],
    labels: Labels,
    languages: Sequence[str],
    heads: Sequence[str],
    settings: PolicySettings,
    neutral: npt.NDArray[np.bool_] | None = None,
) -> Policy:
    """Fit temperatures and thresholds on validation rows.

    Per head one temperature and one threshold over all languages. A language with enough negatives and positives gets its
    own: the temperature shrunk towards the head's (`shrink_temperature`), the threshold by the same target. Then no
    threshold may flag more neutral rows of any language than `max_neutral_fpr` allows: a language that shares the head's
    threshold raises it for all that share it, because it has too few rows for one of its own. A head without both
    classes in validation keeps probability 0.5.

    Parameters
    ----------
    logits, labels
        Shape (rows, heads); labels are 1, 0 or `MASKED`.
    neutral
        Shape (rows, heads): negatives that are neutral text, such as encyclopaedic sentences. None: nobody knows.

    Raises
    ------
    UserError
        If the target is unknown.
    """
    if settings.target not in ("f1", "fpr", "precision"):
        raise UserError(f"policy.target={settings.target} is unknown: use f1, fpr or precision")
    language_of = np.asarray(languages)
    fitted = {}
    for column, head in enumerate(heads):
        judged = labels[:, column] != MASKED
        truth, scores, spoken = labels[judged, column], logits[judged, column].astype(np.float64), language_of[judged]
        temperature = fit_temperature(scores, truth)
        policy = HeadPolicy(temperature, 0.5, settings.review_band)
        policy.threshold = choose_threshold(policy.probability(scores), truth, settings)
        for language in sorted(set(spoken.tolist())):
            rows = spoken == language
            positives, negatives = int((truth[rows] == 1).sum()), int((truth[rows] == 0).sum())
            if negatives >= settings.min_negatives and positives >= settings.min_positives:
                own = shrink_temperature(
                    fit_temperature(scores[rows], truth[rows]), temperature, min(positives, negatives), settings.shrinkage
                )
                threshold = choose_threshold(expit(scores[rows] / own), truth[rows], settings)
                policy.languages[language] = LanguagePolicy(own, threshold, negatives, positives)
        if neutral is not None:
            _spare_neutral_text(policy, scores, spoken, neutral[judged, column], settings)
        fitted[head] = policy
    return Policy(fitted, {head: {} for head in heads})


def fit_temperature(logits: Floats, truth: Labels) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017), within [0.05, 20]; 1 without both classes."""
    if len(np.unique(truth)) < 2:
        return 1.0

    result = minimize_scalar(
        lambda log_temperature: _negative_log_likelihood(logits / np.exp(log_temperature), truth),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
    )
    return float(np.exp(result.x))


def shrink_temperature(own: float, shared: float, evidence: int, shrinkage: float) -> float:
    """A language's temperature between its own estimate and the head's, on the log scale.

    The weight of its own is n / (n + shrinkage), with n the rows of its rarer class: the posterior mean under a normal prior
    around the head's whose spread is that of an estimate from `shrinkage` such rows.

    >>> shrink_temperature(4.0, 1.0, evidence=100, shrinkage=100)
    2.0
    """
    weight = evidence / (evidence + shrinkage)
    return float(np.exp(weight * np.log(own) + (1 - weight) * np.log(shared)))


def choose_threshold(probabilities: Floats, truth: Labels, settings: PolicySettings) -> float:
    """The threshold for the settings' target; 0.5 without both classes."""
    if len(np.unique(truth)) < 2:
        return 0.5
    match settings.target:
        case "fpr":
            return threshold_for_fpr(probabilities[truth == 0], settings.target_value, probabilities)
        case "precision":
            return threshold_for_precision(probabilities, truth, settings.target_value)
        case _:
            return best_f1_threshold(probabilities, truth)


def best_f1_threshold(probabilities: Floats, truth: Labels) -> float:
    """The threshold with the best F1 to be expected; 0.5 without both classes.

    Expected, because the F1 that few positives had by chance jumps from row to row: each row counts as positive as often as a
    logistic curve fitted to all of them says (`platt_scaled`), and those above the threshold are flagged (Lipton et al. 2014). It lies
    half-way to the next lower score, so that rounding cannot flip a row.

    >>> round(best_f1_threshold(np.array([0.1, 0.2, 0.6, 0.8]), np.array([0, 0, 1, 1], dtype=np.int8)), 6)
    0.4
    """
    if len(np.unique(truth)) < 2:
        return 0.5
    order = np.argsort(-probabilities)
    ranked, positive = probabilities[order], platt_scaled(logit(np.clip(probabilities, 1e-12, 1 - 1e-12)), truth)[order]
    flagged = np.flatnonzero(np.diff(ranked, append=-1)) + 1  # rows above a threshold: equal scores stay together
    f1 = 2 * positive.cumsum()[flagged - 1] / (flagged + positive.sum())
    return _below(float(ranked[flagged[int(np.argmax(f1))] - 1]), probabilities)


def platt_scaled(logits: Floats, truth: Labels) -> Floats:
    """Probabilities by a slope and an intercept of these rows' own (Platt 1999, whose targets keep both finite where classes part)."""
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def misfit(line: Floats) -> float:
        return _negative_log_likelihood(line[0] * logits + line[1], target)

    slope, intercept = minimize(misfit, [1.0, 0.0]).x
    return np.asarray(expit(slope * logits + intercept))


def _negative_log_likelihood(logits: Floats, target: Floats | Labels) -> float:
    return float(np.mean(np.logaddexp(0, logits) - target * logits))


def threshold_for_fpr(negatives: Floats, rate: float, scores: Floats | None = None) -> float:
    """The lowest threshold that flags at most this share of the negatives' probabilities.

    It lies half-way between the highest negative that is spared and the next higher of `scores` (by default the negatives).

    >>> round(threshold_for_fpr(np.array([0.1, 0.2, 0.6, 0.8]), 0.25), 6)  # one of four may be flagged
    0.7
    """
    allowed = int(np.floor(rate * len(negatives) + 1e-9))
    if allowed >= len(negatives):
        return 0.0
    spared = float(np.sort(negatives)[::-1][allowed])
    scores = negatives if scores is None else scores
    above = scores[scores > spared]
    return max(float((spared + (above.min() if len(above) else 1.0)) / 2), float(np.nextafter(spared, 2)))


def threshold_for_precision(probabilities: Floats, truth: Labels, wanted: float) -> float:
    """The lowest threshold whose flags are right at least this often; 1, which flags next to nothing, if none is.

    >>> p, t = np.array([0.1, 0.2, 0.6, 0.8]), np.array([0, 1, 0, 1], dtype=np.int8)
    >>> round(threshold_for_precision(p, t, 0.66), 6), round(threshold_for_precision(p, t, 0.9), 6)
    (0.15, 0.7)
    """
    precision, _, thresholds = precision_recall_curve(truth, probabilities)
    enough = np.flatnonzero(precision[:-1] >= wanted)
    return _below(float(thresholds[enough[0]]), probabilities) if len(enough) else 1.0


def _below(threshold: float, probabilities: Floats) -> float:
    """Half-way between a threshold, itself a score, and the next lower score."""
    lower = probabilities[probabilities < threshold]
    return float((threshold + lower.max()) / 2) if len(lower) else threshold


def _spare_neutral_text(
    policy: HeadPolicy, scores: Floats, spoken: npt.NDArray[np.str_], neutral: npt.NDArray[np.bool_], settings: PolicySettings
) -> None:
    for language in sorted(set(spoken[neutral].tolist())):
        rows = neutral & (spoken == language)
        if rows.sum() < settings.min_neutral:
            continue
        applies = policy.of(language)
        probabilities = expit(scores[rows] / applies.temperature)
        applies.threshold = max(applies.threshold, threshold_for_fpr(probabilities, settings.max_neutral_fpr))
