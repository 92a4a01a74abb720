"""What `configs/evaluate.yaml` and `configs/gate/` may say."""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from data_prep.command import UserError
from data_prep.limits import check_name
from evaluate.functional.settings import SuiteSettings


@dataclass
class TierSettings:
    """Evidence a (language, head) cell needs on test rows, and the false-positive rate it must be shown to stay under."""

    min_negatives: int = MISSING
    min_positives: int = MISSING
    max_fpr_upper: float = MISSING  # upper end of the 95% Wilson interval


@dataclass
class RuleSettings:
    """A rule of the gate: the limit that must be shown to hold, and the test rows it takes to show it."""

    limit: float = MISSING
    negatives: int = 0
    positives: int = 0
    rows: int = 0  # of any label; for parallel sentences, pairs
    validated: bool = False  # cases of a functional suite let it pass only in languages whose native speakers have signed them


@dataclass
class GateSettings:
    """The release gate."""

    name: str = MISSING
    note: str = ""  # shown at the top of the report
    reference: str = "en"  # the language that others are compared with
    tiers: dict[str, TierSettings] = field(default_factory=dict)  # from the strictest to the most lenient
    rules: dict[str, RuleSettings | None] = field(default_factory=dict)  # by the ids that evaluate/gate.py knows; null: not asked for


@dataclass
class ReportSettings:
    """What the report may show."""

    show_text: bool = False  # posts are masked unless the reader asks for them
    examples_per_head: int = 6
    prevalence: float = 0.001  # of the deployer's stream, for the precision a reviewer would see


@dataclass
class ProbeSettings:
    """How much an artifact is asked beyond its test rows: cost against the width of intervals."""

    cases_per_cell: int | None = 40  # of the project's functional suite, per functionality and language; null: all
    perturbed_rows: int = 50  # test rows per language, head and label that are edited in ten ways


@dataclass
class EvaluateSettings:
    """The primary config of `python -m evaluate`: give either `release` or `run`."""

    release: str | None = None
    run: str | None = None
    previous: str | None = None  # null: the release that was evaluated last before this one
    mixture: str | None = None  # null: the mixture the run was trained on
    gate: GateSettings = field(default_factory=GateSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    suites: dict[str, SuiteSettings] = field(default_factory=dict)  # functional suites, of configs/suite
    probes: ProbeSettings = field(default_factory=ProbeSettings)
    data_dir: str = "data"
    releases_dir: str = "releases"


def check_evaluate_settings(settings: EvaluateSettings) -> None:
    """Refuse what no report can be made with.

    Raises
    ------
    UserError
        If a number is out of its range or the mixture's name could lead out of its folder.
    """
    if settings.mixture is not None:
        check_name("mixture", settings.mixture)
    if not 0 < settings.report.prevalence < 1:
        raise UserError(f"report.prevalence={settings.report.prevalence} is no share of a stream: use more than 0 and less than 1")
    if settings.report.examples_per_head < 0:
        raise UserError(f"report.examples_per_head={settings.report.examples_per_head} is out of range: use 0 or more")
    if settings.probes.cases_per_cell is not None and settings.probes.cases_per_cell < 1:
        raise UserError(f"probes.cases_per_cell={settings.probes.cases_per_cell} is out of range: use 1 or more, or null for all")
    if settings.probes.perturbed_rows < 0:
        raise UserError(f"probes.perturbed_rows={settings.probes.perturbed_rows} is out of range: use 0 or more")
    for name, tier in settings.gate.tiers.items():
        if tier.min_negatives < 1 or tier.min_positives < 1 or not 0 <= tier.max_fpr_upper <= 1:
            raise UserError(f"gate.tiers.{name} asks for no evidence: use counts of at least 1 and a max_fpr_upper from 0 to 1")


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything evaluate's configs may say."""
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateSettings)
