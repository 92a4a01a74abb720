"""Tiers and the gate: how sure a claim about a language may be, and whether the release may ship.

Missing evidence never passes: a language without enough test rows is `not_evaluated`, and its posts go to review; a rule that
nothing can be said about fails the release as one that is broken does. docs/gate.md explains every rule.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from data_prep.command import UserError
from data_prep.table import HARD_NEGATIVES
from evaluate.changes import Comparison
from evaluate.fairness import Fairness
from evaluate.metrics import Estimate, HeadFigures, Rate
from evaluate.names import kind_name, language_name, place, spoken
from evaluate.parallel import Flips
from evaluate.settings import GateSettings, RuleSettings
from evaluate.variants import Agreement
from train.policy import NOT_EVALUATED

PASS, FAIL, NOT_ENOUGH, NOT_APPLICABLE = "pass", "fail", "not enough evidence", "not applicable"
CORE_HARD_NEGATIVES = ("NEWS", "CONDEMN", "RIGHTS", "DISSENT")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Tier:
    """The tier of a (language, head) cell, and why it is no higher."""

    name: str
    measured: bool  # there is the evidence that the last tier asks for, whatever it shows
    reason: str


@dataclass(frozen=True)
class HardNegatives:
    """Allowed speech of one kind: how much of it is not flagged, on test rows or on cases of a functional suite."""

    head: str
    kind: str
    passed: Rate
    language: str = ""  # empty: all languages together
    suite: str = ""  # empty: test rows
    validated: bool = True  # a native speaker has signed the suite's cases


@dataclass(frozen=True)
class Evidence:
    """All that the rules judge. By head and language: `figures`, `tiers`, and `subgroups` (subgroup, BPSN and BNSP AUC)."""

    heads: Sequence[str]
    figures: Mapping[tuple[str, str], HeadFigures]
    tiers: Mapping[tuple[str, str], Tier]
    subgroups: Mapping[tuple[str, str], Mapping[str, Estimate]]
    fairness: Sequence[Fairness]
    hard_negatives: Sequence[HardNegatives]
    flips: Sequence[Flips]
    comparison: Comparison | None
    agreement: Sequence[Agreement] | None = None  # None: the artifact has no int8 model


@dataclass(frozen=True)
class Finding:
    """What a rule finds in one place: a head, and in it a language, a kind of allowed speech, or such a kind in a language."""

    head: str
    language: str
    verdict: str
    reason: str
    kind: str = ""

    @property
    def where(self) -> str:
        """The place within the head, in words."""
        return place(self.language, [self.kind])


@dataclass(frozen=True)
class Ruling:
    """The verdict on one rule: the worst of its findings."""

    rule: str
    title: str
    limit: str
    evidence: str
    verdict: str
    findings: list[Finding]


@dataclass(frozen=True)
class Gate:
    """The release's verdict."""

    passed: bool
    rulings: list[Ruling]

    @property
    def reasons(self) -> list[str]:
        """Why the release does not pass, what is shown to be wrong first; kinds of speech of which the same is to be said, at once."""
        broken: dict[tuple[str, str, str, str], list[str]] = {}
        for verdict in (FAIL, NOT_ENOUGH):
            for ruling in self.rulings:
                for finding in ruling.findings:
                    if finding.verdict == verdict:
                        broken.setdefault((ruling.title, finding.head, finding.language, finding.reason), []).append(finding.kind)
        said = []
        for (title, head, language, reason), kinds in broken.items():
            where = ", ".join(filter(None, (spoken(head), place(language, kinds))))
            said.append(": ".join(filter(None, (title, where, reason))))
        return said or ([] if self.passed else ["the gate has no rule, and so nothing that a release could pass"])


@dataclass(frozen=True)
class Rule:
    """What a rule asks, in words, how its limit reads, and how it is judged."""

    title: str
    limit: str  # format string of the limit
    judge: Callable[[Evidence, RuleSettings], list[Finding]]


def assign_tier(figures: HeadFigures, gate: GateSettings) -> Tier:
    """The strictest tier whose evidence and error bound the cell meets."""
    reason = ""
    measured = False
    for name, tier in gate.tiers.items():
        if figures.negatives < tier.min_negatives or figures.positives < tier.min_positives:
            reason = (
                f"{figures.negatives:,} negatives and {figures.positives:,} positives; "
                f"{name} needs {tier.min_negatives:,} and {tier.min_positives:,}"
            )
            continue
        measured = True
        upper = figures.fpr.high
        if upper is not None and upper <= tier.max_fpr_upper:
            return Tier(name, True, "")
        reason = f"FPR may be as high as {100 * (1 if upper is None else upper):.1f}%; {name} allows {100 * tier.max_fpr_upper:.0f}%"
    return Tier(NOT_EVALUATED, measured, reason)


def check_rules(gate: GateSettings) -> None:
    """Refuse a gate that nothing can be judged by, before anything is scored for it.

    Raises
    ------
    UserError
        If it names a rule that does not exist.
    """
    if unknown := sorted(gate.rules.keys() - RULES.keys()):
        raise UserError(f"gate {gate.name} has a rule {unknown[0]}, which does not exist: rules are {', '.join(RULES)}")


def judge(evidence: Evidence, gate: GateSettings) -> Gate:
    """Apply every rule of the gate; the release passes if each passes or does not apply, and there is at least one.

    Raises
    ------
    UserError
        If the gate names a rule that does not exist.
    """
    check_rules(gate)
    asked = {name: rule for name, rule in gate.rules.items() if rule is not None}
    rulings = []
    for name, settings in asked.items():
        rule = RULES[name]
        findings = rule.judge(evidence, settings)
        verdicts = {finding.verdict for finding in findings}
        verdict = next((worst for worst in (FAIL, NOT_ENOUGH, PASS) if worst in verdicts), NOT_APPLICABLE)
        rulings.append(Ruling(name, rule.title, rule.limit.format(settings.limit), _evidence_needed(settings), verdict, findings))
    verdicts = {ruling.verdict for ruling in rulings}
    return Gate(PASS in verdicts and not verdicts & {FAIL, NOT_ENOUGH}, rulings)


def p_value(p: float) -> str:
    """A p-value as it is reported.

    >>> p_value(0.0412), p_value(0.00001)
    ('p = 0.041', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _evidence_needed(settings: RuleSettings) -> str:
    counts = [f"{getattr(settings, name):,} {name}" for name in ("negatives", "positives", "rows") if getattr(settings, name)]
    return " and ".join(counts)


def _claimed_languages(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    findings = []
    for head in evidence.heads:
        claimed = [language for (of, language), tier in evidence.tiers.items() if of == head and tier.name != NOT_EVALUATED]
        verdict = PASS if len(claimed) >= settings.limit else NOT_ENOUGH
        findings.append(Finding(head, "", verdict, f"{len(claimed)} languages reach a tier, {settings.limit:.0f} must"))
    return findings


def _per_language(
    evidence: Evidence, settings: RuleSettings, judge_cell: Callable[[str, str, HeadFigures], Finding | None]
) -> list[Finding]:
    """Judge every language with the rule's evidence; one that claims a tier and lacks it, or a head without any, is a finding too."""
    findings = []
    for head in evidence.heads:
        judged = 0
        for (of, language), figures in evidence.figures.items():
            if of != head:
                continue
            if figures.negatives >= settings.negatives and figures.positives >= settings.positives:
                finding = judge_cell(head, language, figures)
                judged += finding is not None
                findings += [finding] if finding else []
            elif evidence.tiers[head, language].name != NOT_EVALUATED:
                reason = f"{figures.negatives:,} negatives and {figures.positives:,} positives; needed are {_evidence_needed(settings)}"
                findings.append(Finding(head, language_name(language), NOT_ENOUGH, reason))
        if not judged:
            findings.append(Finding(head, "", NOT_ENOUGH, f"too few languages have {_evidence_needed(settings)}"))
    return findings


def _has_evidence(evidence: Evidence, head: str, language: str) -> bool:
    """Whether the language has the test rows that the last tier asks for; without them the artifact abstains, which harms nobody."""
    return (head, language) in evidence.tiers and evidence.tiers[head, language].measured


def _bounded(value: float | None, bound: float | None, limit: float, at_most: bool, what: str, scale: str = "%") -> tuple[str, str]:
    """Fail when the value is beyond the limit, not enough evidence when only its interval's end is, else pass; and in words."""
    if value is None or bound is None:
        return NOT_ENOUGH, f"{what} is not defined"
    factor, digits = (100, 1) if scale == "%" else (1, 3)
    words = f"{what} {factor * value:.{digits}f}{scale}"
    if bound != value:
        words += f", may be as {'high' if at_most else 'low'} as {factor * bound:.{digits}f}{scale}"
    inside = (bound <= limit, value <= limit) if at_most else (bound >= limit, value >= limit)
    return PASS if inside[0] else NOT_ENOUGH if inside[1] else FAIL, words


def _false_positives(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    def judge_cell(head: str, language: str, figures: HeadFigures) -> Finding:
        verdict, words = _bounded(figures.fpr.value, figures.fpr.high, settings.limit, True, "FPR")
        return Finding(head, language_name(language), verdict, words)

    return _per_language(evidence, settings, judge_cell)


def _gap_rule(measure: str) -> Callable[[Evidence, RuleSettings], list[Finding]]:
    def judge_gaps(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
        gaps = {
            (gap.head, gap.language): gap
            for fairness in evidence.fairness
            for gap in fairness.gaps
            if gap.kind == "reference" and gap.measure == measure
        }

        def judge_cell(head: str, language: str, _: HeadFigures) -> Finding | None:
            gap = gaps.get((head, language))
            if gap is None:  # the reference itself, or nothing to compare with
                return None
            verdict, words = _bounded(
                gap.gap.value, gap.gap.high, settings.limit, True, f"{measure.upper()} above {language_name(gap.other)} by"
            )
            if verdict == FAIL and gap.p > SIGNIFICANT:
                verdict = NOT_ENOUGH  # so large a gap may be chance: it is not shown that the language is worse off
            return Finding(head, language_name(language), verdict, f"{words} ({p_value(gap.p)})")

        return _per_language(evidence, settings, judge_cell)

    return judge_gaps


def _auc_rule(name: str) -> Callable[[Evidence, RuleSettings], list[Finding]]:
    def judge_aucs(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
        def judge_cell(head: str, language: str, _: HeadFigures) -> Finding | None:
            auc = evidence.subgroups.get((head, language), {}).get(name)
            if auc is None or auc.value is None:
                return None
            verdict, words = _bounded(auc.value, auc.value, settings.limit, False, "AUC", "")
            return Finding(head, language_name(language), verdict, words)

        return _per_language(evidence, settings, judge_cell)

    return judge_aucs


def _calibration(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    def judge_cell(head: str, language: str, figures: HeadFigures) -> Finding:
        verdict, words = _bounded(figures.ece.value, figures.ece.value, settings.limit, True, "ECE", "")
        return Finding(head, language_name(language), verdict, words)

    return _per_language(evidence, settings, judge_cell)


def _hard_negative_rule(kinds: Iterable[str]) -> Callable[[Evidence, RuleSettings], list[Finding]]:
    kinds = tuple(kinds)

    def judge_head(head: str, evidence: Evidence, settings: RuleSettings) -> list[Finding]:
        """All languages together where test rows suffice, and every language that claims a tier, where each kind must be shown."""
        enough = [one for one in evidence.hard_negatives if one.head == head and one.passed.of >= settings.negatives and one.kind in kinds]
        claimed = [language for (of, language), tier in evidence.tiers.items() if of == head and tier.name != NOT_EVALUATED]
        findings = []
        for language in ("", *claimed):
            found = [one for one in enough if one.language == language]
            on_rows = {one.kind for one in found if not one.suite}
            for one in found:
                finding = _not_flagged(one, settings)
                unsigned = settings.validated and not one.validated
                if finding.verdict == FAIL or not unsigned or one.kind not in on_rows:  # where rows tell, unsigned cases can only break
                    findings.append(finding)
            missing = [kind for kind in kinds if kind not in {one.kind for one in found}]
            if missing and (language or not claimed):
                reason = f"fewer than {settings.negatives:,} test rows or cases of {', '.join(map(kind_name, missing))}"
                findings.append(Finding(head, language and language_name(language), NOT_ENOUGH, reason))
        return findings

    return lambda evidence, settings: [finding for head in evidence.heads for finding in judge_head(head, evidence, settings)]


def _not_flagged(one: HardNegatives, settings: RuleSettings) -> Finding:
    verdict, words = _bounded(one.passed.value, one.passed.low, settings.limit, False, "not flagged")
    words += f" of {one.passed.of:,} {'cases' if one.suite else 'rows'}"
    if settings.validated and not one.validated and verdict == PASS:
        verdict, words = NOT_ENOUGH, f"{words}, but no native speaker has validated the cases"
    return Finding(one.head, one.language and language_name(one.language), verdict, words, kind_name(one.kind))


def _decision_flips(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    findings = []
    for head in evidence.heads:
        judged = [one for one in evidence.flips if one.head == head and _has_evidence(evidence, head, one.language)]
        enough = [one for one in judged if one.pairs >= settings.rows]
        for one in enough:
            what = f"decision differs from {language_name(one.reference)}’s in"
            verdict, words = _bounded(one.flips.value, one.flips.high, settings.limit, True, what)
            findings.append(Finding(head, language_name(one.language), verdict, words))
        if not enough:
            reason = f"no language with enough test rows has {settings.rows:,} sentences parallel to another's"
            findings.append(Finding(head, "", NOT_ENOUGH, reason))
    return findings


def _int8_agreement(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    if evidence.agreement is None:
        return [Finding("", "", NOT_APPLICABLE, "the artifact has no int8 model")]
    findings = []
    for one in evidence.agreement:
        if one.agreeing.of < settings.rows:
            verdict, words = NOT_ENOUGH, f"{one.agreeing.of:,} rows; needed are {settings.rows:,}"
        elif one.agreeing.of - one.agreeing.count == 1 and (1 - settings.limit) * one.agreeing.of < 1:
            # export ships such a model: of so few rows a single decision is more than the limit leaves, which shows nothing
            verdict, words = NOT_ENOUGH, f"one of {one.agreeing.of:,} decisions differs: too few rows to show {settings.limit:.0%}"
        else:
            verdict, words = _bounded(one.agreeing.value, one.agreeing.value, settings.limit, False, f"{one.variant} agrees in")
        findings.append(Finding(one.head, language_name(one.language), verdict, words))
    return findings or [Finding("", "", NOT_ENOUGH, "the int8 model was not compared with the float32 one")]


def _regression(evidence: Evidence, settings: RuleSettings) -> list[Finding]:
    comparison = evidence.comparison
    if comparison is None:
        return [Finding("", "", NOT_APPLICABLE, "no earlier release has been evaluated on these test rows and heads")]
    findings = []
    for head in evidence.heads:
        if head in comparison.new_heads:
            findings.append(Finding(head, "", NOT_APPLICABLE, f"{comparison.previous} has no such head"))
            continue
        changes = [change for change in comparison.changes if change.head == head and _has_evidence(evidence, head, change.language)]
        if sum(change.rows for change in changes) < settings.rows:
            reason = f"fewer than {settings.rows:,} test rows of languages with enough of them are shared with {comparison.previous}"
            findings.append(Finding(head, "", NOT_ENOUGH, reason))
            continue
        broken = [change for change in changes if change.worse and change.p <= settings.limit]
        for change in broken:
            error = "misses" if change.label == 1 else "false positives"
            reason = (
                f"{error}: {change.newly_wrong:,} new, {change.newly_right:,} gone; families of rows with more of them "
                f"{change.families_worse:,}, with fewer {change.families_better:,} ({p_value(change.p)})"
            )
            findings.append(Finding(head, language_name(change.language), FAIL, reason))
        if not broken:
            findings.append(Finding(head, "", PASS, f"nowhere significantly worse than {comparison.previous}"))
    return findings


RULES: Mapping[str, Rule] = {
    "claimed_languages": Rule("Languages with enough evidence", "at least {:.0f}", _claimed_languages),
    "false_positives": Rule("False positives", "FPR at most {:.1%}", _false_positives),
    "fpr_gap": Rule("False positives against the reference language", "gap at most {:.1%}", _gap_rule("fpr")),
    "fnr_gap": Rule("Misses against the reference language", "gap at most {:.1%}", _gap_rule("fnr")),
    "bpsn_auc": Rule("Negatives of a language against positives of the others (BPSN)", "AUC at least {:.2f}", _auc_rule("bpsn_auc")),
    "bnsp_auc": Rule("Positives of a language against negatives of the others (BNSP)", "AUC at least {:.2f}", _auc_rule("bnsp_auc")),
    "calibration": Rule("Calibration", "ECE at most {:.2f}", _calibration),
    "hard_negatives": Rule("Allowed speech that is often mistaken", "not flagged: at least {:.0%}", _hard_negative_rule(HARD_NEGATIVES)),
    "news_condemn_rights_dissent": Rule(
        "News, condemnation, rights and dissent", "not flagged: at least {:.0%}", _hard_negative_rule(CORE_HARD_NEGATIVES)
    ),
    "decision_flips": Rule("Same content, another language", "decision flips at most {:.1%}", _decision_flips),
    "int8_agreement": Rule("Agreement of the int8 model", "at least {:.0%}", _int8_agreement),
    "regression": Rule("Against the previous release", "nothing worse at p ≤ {:.2f}", _regression),
}
