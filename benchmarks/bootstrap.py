"""What the vectorised bootstrap over families costs, beside fairlearn's own.

python benchmarks/bootstrap.py [--quick]

20,000 rows in 15,000 families and 60 groups, two heads: draws of F1, FPR, FNR, Brier and calibration error (sums over
rows), then AUROC and AUPRC as well (weighted ranks). fairlearn's MetricFrame bootstraps two rates of one head, rows and not
families, with fewer draws; its time is scaled to as many. Prints a table and, last, one line of JSON with the seconds.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from evaluate.bootstrap import _linear_figures, bootstrap_figures, family_weights, linear_columns  # noqa: E402

ROWS, FAMILIES, GROUPS, HEADS = 20_000, 15_000, 60, 2


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The fastest of some repeats."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 draws instead of 2,000, once")
    quick = parser.parse_args().quick
    draws, repeats, their_draws = (200, 1, 2) if quick else (2000, 3, 10)
    rng = np.random.default_rng(0)
    truth = (rng.random(ROWS) < 0.1).astype(np.int8)
    scores = 1 / (1 + np.exp(-(rng.normal(size=ROWS) + 2 * truth - 2)))
    families = np.unique(rng.integers(0, FAMILIES, ROWS), return_inverse=True)[1]
    group_of = rng.integers(0, GROUPS, ROWS)
    groups = [np.flatnonzero(group_of == group) for group in range(GROUPS)]

    def sums() -> None:
        for _ in range(HEADS):
            columns = linear_columns(scores, truth, scores > 0.5, families, groups)
            for weights in family_weights(columns.shape[1], draws):
                _linear_figures(columns, weights, GROUPS)

    def everything() -> None:
        for _ in range(HEADS):
            bootstrap_figures(scores, truth, scores > 0.5, families, groups, draws)

    def theirs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MetricFrame(
                metrics={"fpr": false_positive_rate, "fnr": false_negative_rate}, y_true=truth, y_pred=(scores > 0.5).astype(int),
                sensitive_features=group_of, n_boot=their_draws, ci_quantiles=[0.025, 0.975], random_state=0,
            )  # fmt: skip

    measured = {
        "sums_seconds": seconds(sums, repeats),
        "all_seconds": seconds(everything, repeats),
        "fairlearn_seconds_scaled": seconds(theirs, 1) * HEADS * draws / their_draws,
    }
    print(f"{GROUPS} groups x {HEADS} heads x {draws:,} draws of {ROWS:,} rows in {int(families.max()) + 1:,} families")
    for name, value in measured.items():
        print(f"{name:<28}{value:>10.2f}")
    print(json.dumps({"draws": draws, **{name: round(value, 3) for name, value in measured.items()}}))


if __name__ == "__main__":
    main()
