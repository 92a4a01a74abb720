"""The policy: how a logit becomes a calibrated probability and a probability a decision, per head and language.

Fitted on the validation split at the end of training, never on test. It travels as `policy.json`:

    {"heads": {head: {"temperature": float, "intercept": float, "threshold": float, "review_odds": float, "languages": {language: own}}},
     "tiers": {head: {language: "supported" | "provisional" | "not_evaluated"}}}

where `own` is {"temperature": float, "intercept": float, "threshold": float, "negatives": int, "positives": int}.

The calibrated probability is sigmoid(logit / temperature + intercept): training draws positives and negatives in other shares than rows
come in, which a temperature alone cannot put right. A language that `tiers` does not name is not evaluated, and its posts all go to review.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import precision_recall_curve

from data_prep.command import UserError
from train.labels import MASKED
from train.settings import PolicySettings

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
NOT_EVALUATED = "not_evaluated"


@dataclass
class LanguagePolicy:
    """A language's own calibration and threshold, and the validation rows they rest on."""

    temperature: float
    intercept: float
    threshold: float
    negatives: int
    positives: int


@dataclass
class HeadPolicy:
    """Calibration and threshold of one head; the threshold is a calibrated probability, and what is near it goes to a person first.

    Near: with odds less than `review_odds` times the threshold's, and more than the threshold's divided by it. A band of odds is as
    wide for a head whose threshold is 0.1 as for one at a half.
    """

    temperature: float
    intercept: float
    threshold: float
    review_odds: float
    languages: dict[str, LanguagePolicy] = field(default_factory=dict)

    def probability(self, logits: npt.ArrayLike, languages: Sequence[str] | None = None) -> Floats:
        """Calibrated probabilities of logits, each by its language's calibration; without languages by the head's."""
        applying = [self] if languages is None else [self.of(language) for language in languages]
        temperature, intercept = np.asarray([(applies.temperature, applies.intercept) for applies in applying]).reshape(-1, 2).T
        return calibrated(np.asarray(logits, dtype=np.float64), temperature, intercept)

    def near_threshold(self, probabilities: Floats, thresholds: Floats) -> npt.NDArray[np.bool_]:
        """Which calibrated probabilities lie in the review band around their thresholds."""
        above, below = probabilities * (1 - thresholds), thresholds * (1 - probabilities)
        near: npt.NDArray[np.bool_] = (above < self.review_odds * below) & (below < self.review_odds * above)
        return near

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
        """The inverse of `to_json`; a language without a calibration of its own has the head's, and earlier versions had no intercept."""
        heads = {}
        for name, head in document["heads"].items():
            shared = {"temperature": head["temperature"], "intercept": head.get("intercept", 0.0)}
            own = {language: LanguagePolicy(**{**shared, **value}) for language, value in head["languages"].items()}
            heads[name] = HeadPolicy(**shared, threshold=head["threshold"], review_odds=head.get("review_odds", 1.5), languages=own)
        return cls(heads, document["tiers"])


def fit_policy(
    logits: npt.NDArray[np.float32],
    labels: Labels,
    languages: Sequence[str],
    heads: Sequence[str],
    settings: PolicySettings,
    neutral: npt.NDArray[np.bool_] | None = None,
) -> Policy:
    """Fit calibrations and thresholds on validation rows.

    Per head one temperature, one intercept and one threshold over all languages. A language with enough negatives and positives gets its
    own: the temperature shrunk towards the head's (`shrink_temperature`), then the intercept, which few rows tell, and the threshold by
    the same target. Then no threshold may flag more neutral rows of any language than `max_neutral_fpr` allows: a language that shares
    the head's threshold raises it for all that share it, because it has too few rows for one of its own. A head without both classes in
    validation keeps threshold 0.5.

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
        temperature, intercept = fit_calibration(scores, truth)
        policy = HeadPolicy(temperature, intercept, 0.5, settings.review_odds)
        policy.threshold = choose_threshold(policy.probability(scores), truth, settings)
        for language in sorted(set(spoken.tolist())):
            rows = spoken == language
            positives, negatives = int((truth[rows] == 1).sum()), int((truth[rows] == 0).sum())
            if negatives >= settings.min_negatives and positives >= settings.min_positives:
                fitted_alone, _ = fit_calibration(scores[rows], truth[rows])
                shrunk = shrink_temperature(fitted_alone, temperature, min(positives, negatives), settings.shrinkage)
                _, own_intercept = fit_calibration(scores[rows], truth[rows], shrunk)
                threshold = choose_threshold(calibrated(scores[rows], shrunk, own_intercept), truth[rows], settings)
                policy.languages[language] = LanguagePolicy(shrunk, own_intercept, threshold, negatives, positives)
        if neutral is not None:
            _spare_neutral_text(policy, scores, spoken, neutral[judged, column], settings)
        fitted[head] = policy
    return Policy(fitted, {head: {} for head in heads})


def calibrated(logits: Floats, temperature: float | Floats, intercept: float | Floats) -> Floats:
    """Probabilities of logits."""
    return np.asarray(expit(logits / temperature + intercept))


def fit_calibration(logits: Floats, truth: Labels, temperature: float | None = None) -> tuple[float, float]:
    """Temperature, within [0.05, 20], and intercept that minimise the negative log-likelihood; 1 and 0 without both classes.

    Those of Platt (1999), whose targets, a little short of 1 and 0, keep both finite where the classes part. A temperature that is
    given stays, and the intercept is fitted to it.
    """
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    if not positives or not negatives:
        return (1.0 if temperature is None else temperature), 0.0
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def misfit(line: Floats) -> tuple[float, Floats]:
        calibrated_logits = line[0] * logits + line[1]
        excess = expit(calibrated_logits) - target
        loss = np.mean(np.logaddexp(0, calibrated_logits) - target * calibrated_logits)
        return float(loss), np.array([np.mean(excess * logits), np.mean(excess)])

    slopes = (1 / 20, 1 / 0.05) if temperature is None else (1 / temperature, 1 / temperature)
    begin = [np.clip(1.0, *slopes), 0.0]
    slope, intercept = minimize(misfit, begin, jac=True, method="L-BFGS-B", bounds=[slopes, (None, None)], tol=1e-12).x
    return float(1 / slope), float(intercept)


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
    """The threshold of calibrated probabilities for the settings' target; 0.5 without both classes."""
    if len(np.unique(truth)) < 2:
        return 0.5
    match settings.target:
        case "fpr":
            return threshold_for_fpr(probabilities[truth == 0], settings.target_value, probabilities)
        case "precision":
            return threshold_for_precision(probabilities, truth, settings.target_value)
        case _:
            return best_f1_threshold(probabilities)


def best_f1_threshold(probabilities: Floats) -> float:
    """The threshold with the best F1 to be expected, if calibrated probabilities are true (Lipton et al. 2014).

    Expected, because the F1 that few positives had by chance jumps from row to row. It lies half-way to the next lower probability, so
    that rounding cannot flip a row.

    >>> round(best_f1_threshold(np.array([0.1, 0.2, 0.6, 0.8])), 6)  # of 1.7 positives to be expected, 1.4 are among the upper two
    0.4
    """
    ranked = np.sort(probabilities)[::-1]
    flagged = np.flatnonzero(np.diff(ranked, append=-1)) + 1  # rows above a threshold: equal probabilities stay together
    f1 = 2 * ranked.cumsum()[flagged - 1] / (flagged + ranked.sum())
    return _below(float(ranked[flagged[int(np.argmax(f1))] - 1]), probabilities)


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
        probabilities = calibrated(scores[rows], applies.temperature, applies.intercept)
        applies.threshold = max(applies.threshold, threshold_for_fpr(probabilities, settings.max_neutral_fpr))
