"""A copy of the tiny release that a test may change."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def artifact(tiny_workspace: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "artifact")
    return tmp_path / "artifact"


@pytest.fixture
def golden(artifact: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact / "golden.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
