"""`python -m evaluate.label_audit run=...`: judge the labels, write the review list, say where it lies."""

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.settings import to_settings
from evaluate.label_audit.settings import LabelAuditSettings, register_schemas


@hydra.main(config_path="../../configs", config_name="label_audit", version_base="1.3")
def main(config: DictConfig) -> None:
    """Audit the labels that a run was trained and measured with, and say where the list lies."""
    with user_errors():
        settings: LabelAuditSettings = to_settings(config, LabelAuditSettings)

        from evaluate.label_audit.audit import audit_labels  # not before the settings stand: --help and a mistyped key answer at once
        from evaluate.label_audit.review_list import console_table

        audit, folder = audit_labels(settings)
        print(f"\n{console_table(audit.cells)}")
        print(f"\n{audit.cells['contradicted'].sum():,} labels to review, nothing deleted or changed -> {folder / 'label_audit.csv'}")
        print(f"next: give each language's lines to its native readers, as {folder / 'label_audit.md'} says")


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
