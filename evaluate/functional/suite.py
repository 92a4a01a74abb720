"""A suite asked of an artifact: its cases, the answers, and the tables made of them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluate.functional.cases import functional_cases
from evaluate.functional.hatecheck import read_hatecheck
from evaluate.functional.scoring import answer_cases, hard_negative_rates, pass_rates
from evaluate.functional.settings import SuiteSettings
from export.client import Classifier


@dataclass(frozen=True)
class SuiteResult:
    """The cases of a suite with one answer per case and head."""

    name: str
    cases: pd.DataFrame
    answers: pd.DataFrame

    @property
    def unvalidated(self) -> list[str]:
        """Languages of which no native speaker has signed every case."""
        return sorted(self.cases.loc[self.cases["validated_by"] == "", "language"].unique())

    @property
    def pass_rates(self) -> pd.DataFrame:
        """Per functionality and language, with intervals; `gold` says what its cases are, `validated` whether they are signed."""
        rates = pass_rates(self.answers)
        positive = self.answers.groupby("functionality")["gold"].max()
        unsigned = set(self.unvalidated)
        return rates.assign(
            gold=rates["functionality"].map(positive).map({1: "violating", 0: "allowed"}),
            validated=[language not in unsigned for language in rates["language"]],
        )

    @property
    def hard_negatives(self) -> pd.DataFrame:
        """Per head, named kind of allowed speech and language the share that is not flagged."""
        unsigned = set(self.unvalidated)
        rates = hard_negative_rates(self.answers, ["head", "hard_negative", "language"])
        return rates.assign(validated=[language not in unsigned for language in rates["language"]])


def ask_suite(classifier: Classifier, suite: SuiteSettings, per_cell: int | None = None) -> SuiteResult | None:
    """Score the cases that some head of the artifact judges; None if there is no such case.

    Parameters
    ----------
    per_cell
        At most so many cases of each functionality and language of the project's own suite; None: all.

    Raises
    ------
    UserError
        If the file of a suite in HateCheck's format is missing or no such file.
    """
    cases = functional_cases(per_cell) if suite.file is None else read_hatecheck(Path(suite.file), suite)
    heads = [head for head in classifier.contract["heads"] if head in cases]
    cases = cases[cases[heads].notna().any(axis=1)].reset_index(drop=True)
    return None if cases.empty else SuiteResult(suite.name, cases, answer_cases(classifier, cases))
