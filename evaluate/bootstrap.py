"""95% intervals of figures that are not shares of rows, by resampling families.

Rows of a family (near duplicates, translations, a conversation) are drawn together, because they are not independent
evidence. All groups of rows are measured on the same draws, so that differences between groups keep their correlation.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import expit, logit, ndtri

from evaluate.metrics import BINS, CONFIDENCE, Estimate, Floats, equal_mass_bins, wilson
from train.ranking import Weights, counts_below, weighted_ranking

Indices = npt.NDArray[np.int64]

DRAWS = 2000
FIGURES = ("f1", "auroc", "auprc", "ece", "brier")
_CHUNK = 4_000_000  # weights held at a time
_COLUMNS = 4 + 1 + BINS  # per group: the confusion cells, squared error, signed error per calibration bin


def family_weights(families: int, draws: int, seed: int = 0) -> Iterator[Weights]:
    """How often each family is drawn when as many are drawn with replacement, in blocks of shape (families, some draws)."""
    rng = np.random.default_rng(seed)
    block = max(1, _CHUNK // families)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, families, (families, size)) * size + np.arange(size)
        yield np.bincount(drawn.ravel(), minlength=families * size).reshape(families, size).astype(np.float32)


def bootstrap_figures(
    probabilities: Floats,
    truth: npt.NDArray[np.int8],
    flagged: npt.NDArray[np.bool_],
    families: Indices,
    groups: Sequence[Indices],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Floats]:
    """Draws of every figure in every group.

    Parameters
    ----------
    probabilities, truth, flagged, families
        Shape (rows,); family numbers are 0 .. families - 1.
    groups
        Row numbers of each group; groups may overlap.

    Returns
    -------
    `FIGURES`, `fpr` and `fnr`, each of shape (groups, draws); NaN where a draw does not define the figure.
    """
    columns = linear_columns(probabilities, truth, flagged, families, groups)
    found: dict[str, list[Floats]] = {name: [] for name in (*FIGURES, "fpr", "fnr")}
    for weights in family_weights(columns.shape[1], draws, seed):
        for name, values in _linear_figures(columns, weights, len(groups)).items():
            found[name].append(values)
        auroc, auprc = np.empty((len(groups), weights.shape[1])), np.empty((len(groups), weights.shape[1]))
        for number, rows in enumerate(groups):
            auroc[number], auprc[number] = weighted_ranking(probabilities[rows], truth[rows], weights[families[rows]])
        found["auroc"].append(auroc)
        found["auprc"].append(auprc)
    return {name: np.concatenate(values, axis=1) for name, values in found.items()}


def linear_columns(
    probabilities: Floats, truth: npt.NDArray[np.int8], flagged: npt.NDArray[np.bool_], families: Indices, groups: Sequence[Indices]
) -> sparse.csr_matrix:
    """What each family adds to the sums of each group, of shape (groups * sums, families): see `_COLUMNS`.

    Every figure but the ranking ones is a function of sums over rows, so that a draw is one row of a product with the weights.
    """
    rows_of, columns_of, values = [], [], []
    for number, rows in enumerate(groups):
        base = number * _COLUMNS
        error = probabilities[rows] - truth[rows]
        cell = 2 * (truth[rows] == 1) + flagged[rows]  # 0 true negative, 1 false positive, 2 false negative, 3 true positive
        for column, value in (
            (base + cell, np.ones(len(rows))),
            (np.full(len(rows), base + 4), error**2),
            (base + 5 + equal_mass_bins(probabilities[rows]), error),
        ):
            rows_of.append(column)
            columns_of.append(families[rows])
            values.append(value)
    shape = (len(groups) * _COLUMNS, int(families.max()) + 1)
    entries = (np.concatenate(values).astype(np.float32), (np.concatenate(rows_of), np.concatenate(columns_of)))
    return sparse.coo_matrix(entries, shape=shape).tocsr()


def _linear_figures(columns: sparse.csr_matrix, weights: Weights, groups: int) -> dict[str, Floats]:
    sums = np.asarray(columns @ weights, dtype=np.float64).reshape(groups, _COLUMNS, weights.shape[1])
    tn, fp, fn, tp = (sums[:, cell] for cell in range(4))
    total = tn + fp + fn + tp
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "f1": 2 * tp / np.where(tp + fn > 0, 2 * tp + fp + fn, np.nan),
            "fpr": fp / (fp + tn),
            "fnr": fn / (fn + tp),
            "brier": sums[:, 4] / total,
            "ece": np.abs(sums[:, 5:]).sum(axis=1) / total,
        }


def subgroup_aucs(
    scores: Floats,
    truth: npt.NDArray[np.int8],
    families: Indices,
    groups: Mapping[str, Indices],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Subgroup, BPSN and BNSP AUC of every group against the rows of all others (Borkan et al. 2019).

    A low BPSN AUC (background positive, subgroup negative) means that the group's negatives score as high as the others'
    positives: with one threshold they would be flagged by mistake. A low BNSP AUC means that its positives would be missed.

    Returns
    -------
    By group, then `subgroup_auc`, `bpsn_auc`, `bnsp_auc`.
    """
    plain = np.ones((int(families.max()) + 1, 1), dtype=np.float32)
    values = _subgroup_draws(scores, truth, families, groups, plain)
    blocks = [_subgroup_draws(scores, truth, families, groups, weights) for weights in family_weights(len(plain), draws, seed)]
    found: dict[str, dict[str, Estimate]] = {}
    for group, of_group in values.items():
        inside = truth[groups[group]]
        few = {
            "subgroup_auc": min((inside == 1).sum(), (inside == 0).sum()),
            "bpsn_auc": min((truth == 1).sum() - (inside == 1).sum(), (inside == 0).sum()),
            "bnsp_auc": min((inside == 1).sum(), (truth == 0).sum() - (inside == 0).sum()),
        }
        found[group] = {
            name: interval(float(value[0]), np.concatenate([block[group][name] for block in blocks]), int(few[name]))
            for name, value in of_group.items()
        }
    return found


def _subgroup_draws(
    scores: Floats, truth: npt.NDArray[np.int8], families: Indices, groups: Mapping[str, Indices], weights: Weights
) -> dict[str, dict[str, Floats]]:
    positive = truth == 1
    at, own = scores[positive], weights[families[positive]]
    numbers = np.cumsum(positive) - 1  # a row's place among the positives
    below, not_above, negatives = counts_below(scores[~positive], weights[families[~positive]], at)
    all_wins: Weights = (below + not_above) / np.float32(2)
    all_positives = own.sum(axis=0, dtype=np.float64)
    result = {}
    for group, rows in groups.items():
        inside = numbers[rows[positive[rows]]]
        negative_rows = rows[~positive[rows]]
        below, not_above, group_negatives = counts_below(scores[negative_rows], weights[families[negative_rows]], at)
        wins: Weights = (below + not_above) / np.float32(2)
        group_positives = own[inside].sum(axis=0, dtype=np.float64)

        def total(of: Weights, places: Indices | slice, own: Weights = own) -> Floats:
            return np.asarray(np.einsum("pd,pd->d", own[places], of[places], dtype=np.float64))

        with np.errstate(divide="ignore", invalid="ignore"):
            result[group] = {
                "subgroup_auc": total(wins, inside) / (group_positives * group_negatives),
                "bpsn_auc": (total(wins, slice(None)) - total(wins, inside)) / ((all_positives - group_positives) * group_negatives),
                "bnsp_auc": (total(all_wins, inside) - total(wins, inside)) / (group_positives * (negatives - group_negatives)),
            }
    return result


def interval(value: float | None, draws: Floats, smaller_class: int) -> Estimate:
    """A figure between 0 and 1 with an interval from its draws: the bootstrap's standard error, on the logit scale.

    On 50 rows it covers better than percentiles of the draws do (`benchmarks/coverage.py`), and stays between 0 and 1.

    Parameters
    ----------
    smaller_class
        How many rows the rarer kind has that the figure compares: where no draw differs from a perfect or a worthless value, the
        interval is Wilson's of so many rows that all agree.
    """
    defined = draws[np.isfinite(draws)]
    if value is None or not np.isfinite(value) or len(defined) < 2:
        return Estimate(None)
    error = float(defined.std(ddof=1))
    if error < 1e-9 or not 0 < value < 1:
        low, high = wilson(value * smaller_class, smaller_class)
        return Estimate(value, min(low, value), max(high, value))
    half = float(ndtri(0.5 + CONFIDENCE / 2)) * error / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def reflected_interval(value: float | None, draws: Floats) -> Estimate:
    """The basic bootstrap interval (Davison and Hinkley 1997, ch. 5), for figures that noise can only raise, cut at 0.

    Calibration error and the largest gap grow with noise, and a second time in every draw; reflected at the value the draws'
    surplus is taken off again.
    """
    defined = draws[np.isfinite(draws)]
    if value is None or len(defined) < 2:
        return Estimate(value)
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, max(0.0, 2 * value - float(high)), max(0.0, 2 * value - float(low)))
