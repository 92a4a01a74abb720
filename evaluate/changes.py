"""Release against release: what newly fails, what is newly right, and how the scores moved, on rows that neither has seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import ks_2samp

from data_prep.command import UserError, first_line
from data_prep.files import read_json
from evaluate.significance import holm, losses_and_gains, mcnemar
from train.labels import MASKED

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True)
class Change:
    """One head in one language, on negatives (false positives) or on positives (misses), against the previous release."""

    head: str
    language: str
    label: int
    rows: int
    newly_wrong: int
    newly_right: int
    families_worse: int  # with more rows newly wrong than newly right
    families_better: int
    p: float  # exact McNemar on these families, Holm-corrected over all changes of the comparison
    drift: float  # Kolmogorov-Smirnov distance of the two releases' probabilities
    mean_shift: float  # of the probabilities

    @property
    def worse(self) -> bool:
        """Whether more families became worse than better: `p` is about families, so rows must not say in which direction."""
        return self.families_worse > self.families_better


@dataclass(frozen=True)
class Comparison:
    """This release against the previous one on the test rows they share; `newly_wrong` and `newly_right` are row numbers by head."""

    previous: str
    rows: int
    new_heads: list[str]  # which the previous release does not have, so that nothing is said of them
    changes: list[Change]
    newly_wrong: dict[str, list[int]]
    newly_right: dict[str, list[int]]


def prediction_table(
    ids: list[str], heads: list[str], probabilities: npt.NDArray[np.float64], flagged: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    """What a later release is compared with: a row's id, and per head probability and decision. It holds no text."""
    columns: dict[str, Any] = {"id": ids}
    for column, head in enumerate(heads):
        columns |= {f"probability/{head}": probabilities[:, column], f"flagged/{head}": flagged[:, column]}
    return pd.DataFrame(columns)


def previous_predictions(
    releases_dir: Path, release: str, wanted: str | None, ids: list[str], heads: list[str]
) -> tuple[str, pd.DataFrame] | None:
    """The release to compare with and its `prediction_table`; None if there is none.

    It is the wanted one, or of those that share a test row and a head the last that was first evaluated before this release.

    Raises
    ------
    UserError
        If the wanted release has not been evaluated, or shares no test row or no head.
    """
    evaluated = first_evaluations(releases_dir)
    before = evaluated.pop(release, "9999")
    if wanted is not None and wanted not in evaluated:
        raise UserError(
            f"release {wanted} cannot be compared with: evaluate it first, or name one of those that were "
            f"({', '.join(sorted(evaluated)) or 'none'})"
        )
    earlier = [name for name, when in evaluated.items() if when < before] if wanted is None else [wanted]
    for name in sorted(earlier, key=lambda name: (evaluated[name], name), reverse=True):
        path = releases_dir / name / "report" / PREDICTIONS
        try:
            table = pd.read_parquet(path)
            table["id"]
        except (OSError, ValueError, LookupError) as error:  # ArrowInvalid is a ValueError
            raise UserError(
                f"{path} is damaged ({first_line(error)}): evaluate the release {name} again, or name another by previous=<release>"
            ) from error
        if not table["id"].isin(ids).any():
            reason = "was evaluated on other test rows: evaluate both on the same mixture, or name another release"
        elif not any(_answers(table, head) for head in heads):
            reason = f"has none of the heads {', '.join(heads)}: name another release"
        else:
            return name, table
        if wanted is not None:
            raise UserError(f"release {wanted} {reason}")
    return None


def _answers(table: pd.DataFrame, head: str) -> bool:
    return f"flagged/{head}" in table


def first_evaluations(releases_dir: Path) -> dict[str, str]:
    """When each release that left predictions was first evaluated (ISO 8601); one with a damaged report is left out."""
    found = {}
    for path in sorted(releases_dir.glob(f"*/report/{PREDICTIONS}")):
        try:
            found[path.parent.parent.name] = str(read_json(path.parent / "metrics.json")["first_evaluated"])
        except (UserError, LookupError, TypeError):
            print(f"{path.parent} is damaged and is not compared with: evaluate that release again")
    return found


def compare_releases(
    previous: str,
    before: pd.DataFrame,
    ids: list[str],
    heads: list[str],
    labels: npt.NDArray[np.int8],
    languages: npt.NDArray[np.str_],
    families: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    flagged: npt.NDArray[np.bool_],
    examples: int,
) -> Comparison:
    """Compare the decisions of the heads that both releases have, on the rows that are test rows of both; labels are this release's.

    Parameters
    ----------
    before
        The previous release's `prediction_table`.
    labels, probabilities, flagged
        Shape (rows, heads).
    examples
        How many newly wrong and newly right rows to name per head, those whose probability moved most first.
    """
    places = pd.Series(np.arange(len(before)), index=before["id"]).reindex(ids)
    shared = np.flatnonzero(places.notna())
    then = before.iloc[places.iloc[shared].astype(int)]
    changes: list[Change] = []
    newly: dict[bool, dict[str, list[int]]] = {True: {}, False: {}}
    for column, head in enumerate(heads):
        if not _answers(before, head):
            continue
        truth = labels[shared, column]
        wrong_now = flagged[shared, column] != (truth == 1)
        wrong_then = then[f"flagged/{head}"].to_numpy(dtype=bool) != (truth == 1)
        score_now, score_then = probabilities[shared, column], then[f"probability/{head}"].to_numpy(dtype=np.float64)
        judged = truth != MASKED
        for worse, rows in ((True, judged & wrong_now & ~wrong_then), (False, judged & ~wrong_now & wrong_then)):
            moved = np.flatnonzero(rows)
            moved = moved[np.argsort(-np.abs(score_now - score_then)[moved], kind="stable")]
            newly[worse][head] = shared[moved[:examples]].tolist()
        for language in sorted(set(languages[shared][judged].tolist())):
            for label in (0, 1):
                rows = judged & (languages[shared] == language) & (truth == label)
                if not rows.any():
                    continue
                worse_rows, better_rows = (wrong_now & ~wrong_then)[rows], (~wrong_now & wrong_then)[rows]
                losses, gains = losses_and_gains(worse_rows, better_rows, families[shared][rows])
                changes.append(
                    Change(
                        head=head,
                        language=language,
                        label=label,
                        rows=int(rows.sum()),
                        newly_wrong=int(worse_rows.sum()),
                        newly_right=int(better_rows.sum()),
                        families_worse=losses,
                        families_better=gains,
                        p=mcnemar(losses, gains),
                        drift=float(ks_2samp(score_now[rows], score_then[rows], method="asymp").statistic),
                        mean_shift=float((score_now[rows] - score_then[rows]).mean()),
                    )
                )
    adjusted = holm([change.p for change in changes])
    changes = [Change(**{**vars(change), "p": p}) for change, p in zip(changes, adjusted, strict=True)]
    new_heads = [head for head in heads if not _answers(before, head)]
    return Comparison(previous, len(shared), new_heads, changes, newly[True], newly[False])
