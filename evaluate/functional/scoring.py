"""What the shipped artifact answers to the cases, and the tables a report shows of it.

A case passes on a head when the decision at the shipped threshold equals its gold label, and it passes when it does so on
every head that judges it. For a language that the policy does not vouch for, the artifact's decision is always `review`;
the tables then use the raw comparison with the threshold, and `abstains` says so.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluate.metrics import wilson
from evaluate.predictions import probabilities_of
from export.client import Classifier
from train.policy import NOT_EVALUATED, Policy

CELL = ("functionality", "language")


def answered_probabilities(classifier: Classifier, texts: Sequence[str], languages: Sequence[str], doing: str) -> pd.DataFrame:
    """Calibrated probabilities, one row per text in order, one column per head."""
    heads = list(classifier.contract["heads"])
    policy = Policy.from_json(classifier.policy)
    return pd.DataFrame(probabilities_of(classifier, policy, heads, texts, languages, doing), columns=heads)


def answer_cases(classifier: Classifier, cases: pd.DataFrame) -> pd.DataFrame:
    """One line per case and head that judges it.

    Returns
    -------
    The cases' columns without the heads' own, and `head`, `gold`, `probability`, `threshold`, `flagged`, `passed`, `abstains`.
    """
    policy = Policy.from_json(classifier.policy)
    probabilities = answered_probabilities(classifier, cases["text"].tolist(), cases["language"].tolist(), "functional cases")
    heads = [str(head) for head in probabilities if head in cases]
    shared = cases.drop(columns=heads).reset_index(drop=True)
    answers = []
    for head in heads:
        tiers = policy.tiers.get(head, {})
        of_head = shared.assign(
            head=head,
            gold=cases[head].to_numpy(),
            probability=probabilities[head],
            threshold=[policy.heads[head].threshold_of(language) for language in shared["language"]],
            abstains=[tiers.get(language, NOT_EVALUATED) == NOT_EVALUATED for language in shared["language"]],
        )
        answers.append(of_head[of_head["gold"].notna()].astype({"gold": int}))
    table = pd.concat(answers, ignore_index=True)
    flagged = table["probability"] >= table["threshold"]
    return table.assign(flagged=flagged, passed=flagged == (table["gold"] == 1))


def pass_rates(answers: pd.DataFrame, by: Sequence[str] = CELL) -> pd.DataFrame:
    """Cases, and how many passed on every head that judges them, with 95% Wilson intervals.

    Returns
    -------
    The columns `by`, then `cases`, `templates` (distinct ones: cases of one template are alike, so the interval, which counts
    cases, is narrower than that of new sentences would be), `passed`, `rate`, `low`, `high` and `abstains`.
    """
    per_case = answers.groupby([*dict.fromkeys((*by, "case_id"))], sort=False).agg(
        passed=("passed", "all"), abstains=("abstains", "any"), template=("template_id", "first")
    )
    rates = per_case.groupby(list(by), sort=False).agg(
        cases=("passed", "size"), templates=("template", "nunique"), passed=("passed", "sum"), abstains=("abstains", "any")
    )
    return _with_intervals(rates.reset_index(), "passed", "cases")


def hard_negative_rates(answers: pd.DataFrame, by: Sequence[str] = ("hard_negative", "language")) -> pd.DataFrame:
    """Pass rates per named hard negative and language, of cases as their templates have them; `low` is what a gate asks for."""
    named = answers[(answers["hard_negative"] != "") & (answers["derived"] == "")]
    return pass_rates(named, by)


def pair_consistency(answers: pd.DataFrame) -> pd.DataFrame:
    """How often a case and the case it refers to are answered consistently, per functionality and language.

    A `contrast` is consistent when both halves pass: few words differ, and so do the gold labels. A `derived` case is consistent
    when every head decides as it did before the post was written differently, right or wrong.

    Returns
    -------
    `kind`, `functionality`, `language`, `pairs`, `consistent`, `rate`, `low`, `high`.
    """
    per_case = answers.groupby("case_id", sort=False).agg(
        functionality=("functionality", "first"),
        language=("language", "first"),
        derived=("derived", "first"),
        ref_case_id=("ref_case_id", "first"),
        passed=("passed", "all"),
        flags=("flagged", tuple),
    )
    pairs = per_case[per_case["ref_case_id"].isin(per_case.index)]
    others = per_case.loc[pairs["ref_case_id"]]
    same = np.asarray([mine == other for mine, other in zip(pairs["flags"], others["flags"], strict=True)], dtype=bool)
    both = pairs["passed"].to_numpy() & others["passed"].to_numpy()
    is_derived = (pairs["derived"] != "").to_numpy()
    pairs = pairs.assign(kind=np.where(is_derived, "derived", "contrast"), consistent=np.where(is_derived, same, both))
    rates = pairs.groupby(["kind", *CELL], sort=False).agg(pairs=("consistent", "size"), consistent=("consistent", "sum"))
    return _with_intervals(rates.reset_index(), "consistent", "pairs")


def _with_intervals(table: pd.DataFrame, count: str, of: str) -> pd.DataFrame:
    intervals = [wilson(int(hits), int(total)) for hits, total in zip(table[count], table[of], strict=True)]
    table["rate"] = table[count] / table[of]
    table["low"], table["high"] = ([interval[end] for interval in intervals] for end in (0, 1))
    last = [name for name in ("abstains",) if name in table]
    return table[[*(name for name in table.columns if name not in last), *last]]
