"""What `configs/functional.yaml` and `configs/suite/` may say."""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class SuiteSettings:
    """Which cases are asked: the project's own, or a file in HateCheck's format."""

    name: str = MISSING
    file: str | None = None  # null: the project's own suite
    language: str = "en"  # of the file's cases
    validated_by: str = ""
    labels: dict[str, dict[str, int | None]] = field(default_factory=dict)  # head -> functionality -> 1, 0 or null = not judged
    hard_negatives: dict[str, str] = field(default_factory=dict)  # functionality -> a hard negative's name in the taxonomy


@dataclass
class FunctionalSettings:
    """The primary config of `python -m evaluate.functional`."""

    release: str = MISSING  # the artifact of <releases_dir>/<release>
    releases_dir: str = "releases"
    suite: SuiteSettings = field(default_factory=SuiteSettings)
    resamples: int = 2000  # of the bootstrap over templates, for the intervals of term shifts


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything `configs/functional.yaml` may say."""
    ConfigStore.instance().store(name="functional_schema", node=FunctionalSettings)
