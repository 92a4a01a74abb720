"""What an artifact is asked beyond its test rows: one skill at a time, exchanged terms, edited posts, and why it errs."""

from dataclasses import dataclass

import pandas as pd

from evaluate.examples import worst_errors
from evaluate.explanations import Piece, explain
from evaluate.functional.suite import SuiteResult, ask_suite
from evaluate.functional.terms import answer_terms, term_cases, term_shifts
from evaluate.predictions import Scored
from evaluate.robustness import Perturbed, measure_robustness
from evaluate.settings import EvaluateSettings
from evaluate.variants import Variant, measured_variants


@dataclass(frozen=True)
class Probes:
    """The answers; `without_cases` names the suites in which no case is for a head of the artifact, `terms` is a table of
    `term_shifts`, `unvalidated_terms` the languages in which nobody has signed its sentences; `explanations` are by test row and
    number of the head."""

    suites: list[SuiteResult]
    without_cases: list[str]
    terms: pd.DataFrame
    unvalidated_terms: list[str]
    robustness: list[Perturbed]
    explanations: dict[tuple[int, int], list[Piece]]
    variants: list[Variant]


def probe(scored: Scored, settings: EvaluateSettings) -> Probes | None:
    """Ask the artifact; None for a checkpoint, of which only the test rows are scored.

    Raises
    ------
    UserError
        If a suite cannot be read.
    """
    if scored.classifier is None:
        return None
    terms = term_cases()
    asked = [ask_suite(scored.classifier, suite, settings.probes.cases_per_cell) for suite in settings.suites.values()]
    return Probes(
        suites=[suite for suite in asked if suite is not None],
        without_cases=[suite.name for suite, result in zip(settings.suites.values(), asked, strict=True) if result is None],
        terms=term_shifts(answer_terms(scored.classifier, terms)),
        unvalidated_terms=sorted(terms.loc[terms["validated_by"] == "", "language"].unique()),
        robustness=measure_robustness(scored, settings.probes.perturbed_rows),
        explanations=explain(scored, worst_errors(scored)),
        variants=measured_variants(scored.classifier.contract),
    )
