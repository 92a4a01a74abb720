"""What `configs/export.yaml` may say."""

import re
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from data_prep.command import UserError


@dataclass
class ExportSettings:
    """The primary config of `python -m export`."""

    run: str = MISSING  # the run folder
    release: str = MISSING  # the artifact goes to <releases_dir>/<release>/artifact
    releases_dir: str = "releases"
    opset: int = 20
    max_difference: float = 1e-4  # largest allowed difference between ONNX and PyTorch outputs


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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", release):
        raise UserError(f"release={release!r} is not a usable name: use letters, digits, dot, dash and underscore, at most 64")
    return Path(releases_dir) / release
