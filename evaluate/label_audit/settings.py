"""What `configs/label_audit.yaml` may say."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class LabelAuditSettings:
    """The config of `python -m evaluate.label_audit`."""

    run: str = MISSING  # a finished run's folder
    out: str = MISSING  # the list goes to <out>/label_audit
    folds: int = 3  # 0: only rows that the run never trained on
    show_text: bool = False
    data_dir: str = "data"


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything `configs/label_audit.yaml` may say."""
    ConfigStore.instance().store(name="label_audit_schema", node=LabelAuditSettings)
