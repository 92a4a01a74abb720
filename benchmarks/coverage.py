"""Do the 95% intervals cover, and how often does the gate raise a false alarm: simulated releases whose truth is known.

python benchmarks/coverage.py [--quick]

Each release has two languages of n rows, 40% positive, in families of one to three rows that share the label and half of the score's
variance; scores of negatives and positives are normal with means 0 and 1.5. Coverage is the share of 1,000 releases whose
interval holds the truth of an endless test set. False alarms are counted among five languages with the same truth: a
significant gap to the reference (`fpr_gap` or `fnr_gap` would say fail), and a significant regression between two releases
of the same quality. Prints a table and, last, one line of JSON.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from evaluate.bootstrap import bootstrap_figures, interval  # noqa: E402
from evaluate.changes import compare_releases, prediction_table  # noqa: E402
from evaluate.fairness import compare_languages  # noqa: E402
from evaluate.metrics import Estimate, Floats, HeadFigures, head_figures  # noqa: E402
from evaluate.significance import rate_difference  # noqa: E402

PREVALENCE, DISTANCE, THRESHOLD, SHARED, DRAWS = 0.4, 1.5, 0.9, 0.5, 500
SIZES = (50, 200, 1000)


def probability(score: Floats) -> Floats:
    """The calibrated probability of a score, by Bayes."""
    odds = PREVALENCE / (1 - PREVALENCE) * norm.pdf(score - DISTANCE) / norm.pdf(score)
    return np.asarray(odds / (1 + odds), dtype=np.float64)


def sample(rng: np.random.Generator, rows: int) -> tuple[Floats, npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Scores, labels and family numbers of a test set."""
    families = np.repeat(np.arange(rows), rng.integers(1, 4, rows))[:rows]
    count = int(families.max()) + 1
    truth = (rng.random(count) < PREVALENCE).astype(np.int8)[families]
    noise = np.sqrt(SHARED) * rng.normal(size=count)[families] + np.sqrt(1 - SHARED) * rng.normal(size=rows)
    return noise + DISTANCE * truth, truth, families


def true_figures() -> dict[str, float]:
    """The figures of an endless test set; of AUPRC and Brier by integration."""
    fpr, recall = float(norm.sf(THRESHOLD)), float(norm.sf(THRESHOLD - DISTANCE))
    grid = np.linspace(-8, 10, 400_001)
    step = grid[1] - grid[0]
    positive, negative = PREVALENCE * norm.pdf(grid - DISTANCE), (1 - PREVALENCE) * norm.pdf(grid)
    hits, alarms = PREVALENCE * norm.sf(grid - DISTANCE), (1 - PREVALENCE) * norm.sf(grid)
    p = probability(grid)
    flagged = PREVALENCE * recall + (1 - PREVALENCE) * fpr
    return {
        "fpr": fpr,
        "recall": recall,
        "precision": PREVALENCE * recall / flagged,
        "f1": 2 * PREVALENCE * recall / (flagged + PREVALENCE),
        "auroc": float(norm.cdf(DISTANCE / np.sqrt(2))),
        "auprc": float(np.sum(positive / PREVALENCE * hits / (hits + alarms)) * step),
        "brier": float(np.sum(positive * (1 - p) ** 2 + negative * p**2) * step),
        "fpr_gap": 0.0,
    }


def measure(rng: np.random.Generator, rows: int, draws: int) -> tuple[HeadFigures, dict[str, Estimate]]:
    """A simulated test set's figures, with the intervals that a report gives."""
    scores, truth, families = sample(rng, rows)
    flagged, p = scores > THRESHOLD, probability(scores)
    drawn = bootstrap_figures(p, truth, flagged, families, [np.arange(rows)], draws, seed=int(rng.integers(2**31)))
    made = head_figures(p, truth, flagged, families=families)
    smaller = {"auroc": min(made.positives, made.negatives), "auprc": made.positives, "f1": made.positives, "brier": made.n}
    found: dict[str, Estimate] = {name: interval(getattr(made, name).value, drawn[name][0], smaller[name]) for name in smaller}
    return made, {**found, "fpr": made.fpr, "recall": made.recall, "precision": made.precision}


def coverage(rows: int, releases: int) -> dict[str, float]:
    """The share of releases whose interval holds the truth, per figure; one that is not defined does not hold it."""
    rng, truth = np.random.default_rng(rows), true_figures()
    held: dict[str, int] = defaultdict(int)
    for _ in range(releases):
        made, estimates = measure(rng, rows, DRAWS)
        scores, labels, families = sample(rng, rows)
        other = head_figures(scores, labels, scores > THRESHOLD, families=families)
        estimates["fpr_gap"] = rate_difference(made.fpr, other.fpr)
        for name, estimate in estimates.items():
            held[name] += estimate.low is not None and estimate.high is not None and estimate.low <= truth[name] <= estimate.high
    return {name: held[name] / releases for name in truth}


def false_alarms(rows: int, releases: int) -> dict[str, float]:
    """The share of releases in which a gap or a regression is called significant though nothing differs."""
    rng = np.random.default_rng(rows + 1)
    gaps = regressions = 0
    names = ["en", "ur", "ps", "fa", "sd"]
    for _ in range(releases):
        parts = [sample(rng, rows) for _ in names]
        scores, truth = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        families = np.concatenate([part[2] + number * rows for number, part in enumerate(parts)])
        languages, flagged = np.repeat(names, rows), scores > THRESHOLD
        figures = {
            name: head_figures(scores[at], truth[at].astype(np.int8), flagged[at], families=families[at].astype(np.int64))
            for number, name in enumerate(names)
            for at in [slice(number * rows, (number + 1) * rows)]
        }
        nothing = {name: (np.zeros(2), np.zeros(2)) for name in names}
        made = compare_languages("h", truth.astype(np.int8), flagged, languages, figures, nothing, "en")
        gaps += any(gap.p <= 0.05 for gap in made.gaps if gap.kind == "reference")
        # another release of the same quality: the same latent scores with noise of its own
        before = scores + rng.normal(scale=0.3, size=len(scores))
        now = scores + rng.normal(scale=0.3, size=len(scores))
        ids = [str(number) for number in range(len(scores))]
        table = prediction_table(ids, ["h"], probability(before)[:, None], (before > THRESHOLD)[:, None])
        changes = compare_releases(
            "old", table, ids, ["h"], truth.astype(np.int8)[:, None], languages, families.astype(np.int64),
            probability(now)[:, None], (now > THRESHOLD)[:, None], 0,
        ).changes  # fmt: skip
        regressions += any(change.worse and change.p <= 0.05 for change in changes)
    return {"gap": gaps / releases, "regression": regressions / releases}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 releases instead of 1,000")
    releases = 50 if parser.parse_args().quick else 1000
    covered = {rows: coverage(rows, releases) for rows in SIZES}
    alarms = {rows: false_alarms(rows, releases) for rows in SIZES}
    print(f"{releases:,} simulated releases\n\n{'covered by the 95% interval':<30}" + "".join(f"{f'n = {rows:,}':>10}" for rows in SIZES))
    for name in covered[SIZES[0]]:
        print(f"{name:<30}" + "".join(f"{covered[rows][name]:>10.1%}" for rows in SIZES))
    print("\nfalse alarms")
    for name in alarms[SIZES[0]]:
        print(f"{name:<30}" + "".join(f"{alarms[rows][name]:>10.1%}" for rows in SIZES))
    print(json.dumps({"releases": releases, "coverage": covered, "false_alarms": alarms}))


if __name__ == "__main__":
    main()
