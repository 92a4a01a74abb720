"""Tiers and the gate: how sure a claim about a language may be, and whether the release may ship.

Missing evidence never passes: a cell without enough test rows is `not_evaluated`, and its posts go to review.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluate.metrics import HeadFigures
from evaluate.settings import GateSettings
from train.policy import NOT_EVALUATED


@dataclass(frozen=True)
class Verdict:
    """The tier of a (language, head) cell, and why it is no higher."""

    tier: str
    passed: bool  # false where there is enough evidence that too many negatives are flagged
    reason: str


@dataclass(frozen=True)
class Gate:
    """The release's verdict and its reasons."""

    passed: bool
    reasons: list[str]


def assign_tier(figures: HeadFigures, gate: GateSettings) -> Verdict:
    """The strictest tier whose evidence and error bound the cell meets."""
    reason = ""
    evidence = False
    for name, tier in gate.tiers.items():
        if figures.negatives < tier.min_negatives or figures.positives < tier.min_positives:
            reason = (
                f"{figures.negatives:,} negatives and {figures.positives:,} positives; "
                f"{name} needs {tier.min_negatives:,} and {tier.min_positives:,}"
            )
            continue
        evidence = True
        upper = figures.fpr.high
        if upper is not None and upper <= tier.max_fpr_upper:
            return Verdict(name, True, "")
        reason = f"FPR may be as high as {100 * (upper or 1):.1f}%; {name} allows {100 * tier.max_fpr_upper:.0f}%"
    return Verdict(NOT_EVALUATED, not evidence, reason)


def judge(verdicts: dict[tuple[str, str], Verdict], heads: Sequence[str]) -> Gate:
    """The release passes if some language reaches a tier in every head and none with enough evidence fails its bound.

    Parameters
    ----------
    verdicts
        By (head, language).
    heads
        All heads of the classifier; one without any test row fails, because missing evidence never passes.
    """
    reasons = [
        f"{head}, {language}: {verdict.reason}" for (head, language), verdict in verdicts.items() if not verdict.passed
    ]  # fmt: skip
    for head in heads:
        if all(verdict.tier == NOT_EVALUATED for (of, _), verdict in verdicts.items() if of == head):
            reasons.append(f"{head}: no language has enough evidence")
    return Gate(not reasons, reasons)
