"""Is it worse in one language than in another: gaps with tests, the worst language, equalised odds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate, selection_rate

from evaluate.bootstrap import reflected_interval
from evaluate.metrics import Estimate, Floats, HeadFigures
from evaluate.significance import holm, minimum_detectable_difference, rate_difference, rates_differ

RATES = {"fpr": false_positive_rate, "fnr": false_negative_rate, "selection_rate": selection_rate}


@dataclass(frozen=True)
class Gap:
    """How much higher an error rate is in a language than in another one, at the shipped thresholds.

    `p` is Holm-corrected over all of the head's gaps of the same kind; `detectable` is the smallest gap that these rows would
    show with 80% probability.
    """

    head: str
    measure: str  # fpr or fnr
    kind: str  # to the reference language, or to the best
    language: str
    other: str
    gap: Estimate
    p: float
    detectable: float | None


@dataclass(frozen=True)
class Fairness:
    """One head between its measured languages."""

    head: str
    reference: str | None
    languages: list[str]
    worst_fpr: str | None
    worst_fnr: str | None
    equalised_odds_difference: Estimate
    gaps: list[Gap]


def group_rates(truth: npt.NDArray[np.int8], flagged: npt.NDArray[np.bool_], groups: Sequence[str]) -> MetricFrame:
    """fairlearn's table of `RATES` by group."""
    return MetricFrame(metrics=RATES, y_true=truth, y_pred=flagged.astype(int), sensitive_features=pd.Series(groups, name="language"))


def compare_languages(
    head: str,
    truth: npt.NDArray[np.int8],
    flagged: npt.NDArray[np.bool_],
    languages: npt.NDArray[np.str_],
    figures: Mapping[str, HeadFigures],
    draws: Mapping[str, tuple[Floats, Floats]],
    reference: str,
) -> Fairness:
    """Compare the languages of `figures`, which are those with enough evidence, with the reference and with the best of them.

    Parameters
    ----------
    truth, flagged, languages
        Shape (rows,): the head's judged rows, of these languages and others.
    figures, draws
        By language: its figures, and its bootstrap draws of FPR and FNR.
    reference
        The language to compare with; if it is not among `figures`, the one with the most rows is taken.
    """
    measured = sorted(figures)
    if len(measured) < 2:
        return Fairness(head, None, measured, None, None, Estimate(None), [])
    if reference not in figures:
        reference = max(measured, key=lambda language: figures[language].n)
    rows = np.isin(languages, measured)
    frame = group_rates(truth[rows], flagged[rows], languages[rows].tolist())
    gaps = []
    for kind in ("reference", "best"):
        found = []
        for measure in ("fpr", "fnr"):
            other = reference if kind == "reference" else str(frame.by_group[measure].idxmin())
            found += [_gap(head, measure, kind, language, other, figures) for language in measured if language != other]
        adjusted = holm([gap.p for gap in found])
        gaps += [Gap(**{**vars(gap), "p": p}) for gap, p in zip(found, adjusted, strict=True)]
    spread = frame.difference(method="between_groups")
    drawn = np.maximum(*(np.ptp(np.stack([draws[language][rate] for language in measured]), axis=0) for rate in (0, 1)))
    return Fairness(
        head=head,
        reference=reference,
        languages=measured,
        worst_fpr=str(frame.by_group["fpr"].idxmax()),
        worst_fnr=str(frame.by_group["fnr"].idxmax()),
        equalised_odds_difference=reflected_interval(float(max(spread["fpr"], spread["fnr"])), drawn),
        gaps=gaps,
    )


def _gap(head: str, measure: str, kind: str, language: str, other: str, figures: Mapping[str, HeadFigures]) -> Gap:
    rate, base = getattr(figures[language], measure), getattr(figures[other], measure)
    detectable = minimum_detectable_difference(base.value, rate.effective, base.effective) if base.value is not None else None
    return Gap(head, measure, kind, language, other, rate_difference(rate, base), rates_differ(rate, base), detectable)
