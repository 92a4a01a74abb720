"""Gaps between languages: fairlearn's figures, corrected tests, and no alarm where there is no difference."""

import numpy as np
import pytest
from fairlearn.metrics import equalized_odds_difference

from evaluate.bootstrap import bootstrap_figures
from evaluate.fairness import Fairness, compare_languages
from evaluate.metrics import head_figures


def compare(rates: dict[str, tuple[float, float]], rows: int, seed: int = 0, reference: str = "en") -> tuple[Fairness, float]:
    """Languages with these true (FPR, FNR) and as many rows each, half positive; and fairlearn's equalised-odds difference."""
    rng = np.random.default_rng(seed)
    truth = np.tile(np.arange(rows) % 2, len(rates)).astype(np.int8)
    languages = np.repeat(list(rates), rows)
    chance = np.concatenate([np.where(np.arange(rows) % 2 == 1, 1 - fnr, fpr) for fpr, fnr in rates.values()])
    flagged = rng.random(len(truth)) < chance
    groups = {name: np.flatnonzero(languages == name) for name in rates}
    figures = {name: head_figures(flagged[at].astype(float), truth[at], flagged[at]) for name, at in groups.items()}
    draws = bootstrap_figures(flagged.astype(float), truth, flagged, np.arange(len(truth)), list(groups.values()), draws=100)
    rate_draws = {name: (draws["fpr"][place], draws["fnr"][place]) for place, name in enumerate(rates)}
    made = compare_languages("h", truth, flagged, languages, figures, rate_draws, reference)
    return made, float(equalized_odds_difference(truth, flagged.astype(int), sensitive_features=languages))


def test_the_worse_language_is_found() -> None:
    made, expected = compare({"en": (0.02, 0.2), "ur": (0.2, 0.2), "ps": (0.02, 0.5)}, 800)
    assert (made.reference, made.worst_fpr, made.worst_fnr) == ("en", "ur", "ps")
    assert made.equalised_odds_difference.value == pytest.approx(expected, abs=1e-9)
    assert made.equalised_odds_difference.low is not None
    assert 0 < made.equalised_odds_difference.low < expected
    gaps = {(gap.kind, gap.measure, gap.language): gap for gap in made.gaps}
    assert gaps["reference", "fpr", "ur"].p < 0.001
    assert gaps["reference", "fpr", "ps"].p > 0.05
    assert gaps["reference", "fnr", "ps"].gap.low is not None
    assert gaps["reference", "fnr", "ps"].gap.low > 0.2
    assert ("reference", "fpr", "en") not in gaps
    assert gaps["reference", "fpr", "ur"].detectable == pytest.approx(0.05, abs=0.02)


def test_without_the_reference_the_largest_language_takes_its_place() -> None:
    assert compare({"ur": (0.1, 0.1), "ps": (0.1, 0.1)}, 100)[0].reference in ("ur", "ps")


def test_one_language_cannot_be_compared() -> None:
    made, _ = compare({"en": (0.1, 0.1)}, 100)
    assert (made.reference, made.gaps, made.equalised_odds_difference.value) == (None, [], None)


def test_no_difference_is_rarely_called_one() -> None:
    """Five languages with the same rates, 50 times: any significant gap to the reference is a false alarm."""
    alarms = 0
    for seed in range(50):
        made, _ = compare(dict.fromkeys(("en", "ur", "ps", "fa", "sd"), (0.1, 0.2)), 200, seed)
        alarms += any(gap.p <= 0.05 for gap in made.gaps if gap.kind == "reference")
    assert alarms / 50 <= 0.1  # at most 5% in the long run; benchmarks/coverage.py does it in full
