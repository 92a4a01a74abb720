"""What `configs/export.yaml` may say."""

from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from data_prep.limits import check_name

EXTERNAL_ABOVE = 1_900_000_000  # bytes; protobuf cannot hold a message of 2 GiB


@dataclass
class AgreementSettings:
    """When a smaller variant may ship: what must hold in every language with enough validation rows."""

    min_agreement: float = 0.99  # share of decisions at the language's threshold that are float32's
    max_auprc_loss: float = 0.01
    rows_per_language: int = 500  # at most so many are scored
    min_rows: int = 50  # a language with fewer is not judged
    min_positives: int = 20  # a language and head with fewer has no area under the precision-recall curve to lose


@dataclass
class MirrorSettings:
    """How often a post may be taken for a copy of one that it is no copy of."""

    false_match_rate: float = 0.01  # per query
    bank: int = 10_000  # entries of the bank that is asked
    queries: int = 1000  # texts of each length that are tried


@dataclass
class ExportSettings:
    """The primary config of `python -m export`."""

    run: str = MISSING  # the run folder
    release: str = MISSING  # the artifact goes to <releases_dir>/<release>/artifact
    releases_dir: str = "releases"
    opset: int = 20
    max_difference: float = 1e-4  # largest allowed difference between ONNX and PyTorch outputs
    variants: list[str] = field(default_factory=lambda: ["fp16", "int8"])  # beside fp32
    data_dir: str | None = None  # where the run's mixture lies, if it is not where it was in training
    agreement: AgreementSettings = field(default_factory=AgreementSettings)
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    external_above: int = EXTERNAL_ABOVE  # bytes; a larger graph keeps its weights in a file beside it


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything export's config may say."""
    ConfigStore.instance().store(name="export_schema", node=ExportSettings)


def release_folder(releases_dir: str, release: str) -> Path:
    """Where a release lies.

    Raises
    ------
    UserError
        If the name could lead out of `releases_dir` or is hard to type.
    """
    return Path(releases_dir) / check_name("release", release)
