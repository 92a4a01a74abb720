"""Same configuration, same data, same machine: the same bytes from every stage, whatever Python's hashes are seeded with."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.files import read_json, sha256
from tests.conftest import ROOT
from tests.reliability.harness import run_here

# what tests/conftest.py's `tiny_workspace` does, once more
AGAIN = """
import sys
from pathlib import Path
import torch
from tests.conftest import prepare_rows, tiny_export, tiny_rows, tiny_settings
from data_prep.settings import register_schemas as data_prep
from evaluate.settings import register_schemas as evaluate
from export.bundle import export_release
from export.settings import register_schemas as export
from train.settings import register_schemas as train_schemas
from train.stage import train
torch.set_num_threads(1)
for register in (data_prep, train_schemas, export, evaluate):
    register()
folder = Path(sys.argv[1])
prepare_rows(folder, tiny_rows())
train(tiny_settings(folder))
export_release(tiny_export(folder, release="tiny", releases_dir=str(folder / "releases")))
"""
DATES = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?\d\d[:-]\d\d[:-]\d\d(\+00:00|Z)?")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny workspace made anew by another process, with other hashes of strings."""
    folder = tmp_path_factory.mktemp("again")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", AGAIN, str(folder)], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return folder


def hashes(folder: Path, *but: str) -> dict[str, str]:
    """Of every file below the folder, but for those of these names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    files = [path for path in files if not re.match(r"cache-\w+\.arrow", path.name)]  # what `datasets` remembers of readers
    assert files
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def test_data(tiny_workspace: Path, again: Path) -> None:
    assert hashes(tiny_workspace / "data" / "mine") == hashes(again / "data" / "mine")


def test_training(tiny_workspace: Path, again: Path) -> None:
    """All but what tells the time: begun.json and run.json name places and seconds, metrics.jsonl has the Trainer's speed."""
    one, other = (folder / "runs" / "tiny" / "latest" for folder in (tiny_workspace, again))
    timed = ("begun.json", "run.json", "metrics.jsonl")
    assert hashes(one, *timed) == hashes(other, *timed)
    assert "model/model.safetensors" in hashes(one, *timed)
    assert read_json(one / "run.json")["sha256"] == read_json(other / "run.json")["sha256"]


def test_artifact(tiny_workspace: Path, again: Path) -> None:
    """All but the record of the training, and what names it; one run exported twice is equal in every file (tests/export)."""
    one, other = (folder / "releases" / "tiny" / "artifact" for folder in (tiny_workspace, again))
    naming = ("training.json", "contract.json", "SHA256SUMS", "MODEL_CARD.md", "README.md")
    assert hashes(one, *naming) == hashes(other, *naming)
    contracts = [read_json(artifact / "contract.json") for artifact in (one, other)]
    assert [contract.pop("run") != "" for contract in contracts] == [True, True]
    assert contracts[0] == contracts[1]


def test_report(tiny_workspace: Path, tmp_path: Path) -> None:
    """All but the time of the evaluation."""
    reports = []
    for name in ("one", "other"):
        release = tmp_path / name / "tiny"
        shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", release / "artifact")
        command = ("release=tiny", f"releases_dir={tmp_path / name}", f"data_dir={tiny_workspace / 'data'}", "gate=demo")
        outcome = run_here("evaluate", *command, "gate.tiers.provisional.min_negatives=5", "report.show_text=true", cwd=tmp_path)
        assert outcome.code in (0, 1), outcome.err
        files = sorted(path for path in release.rglob("*") if path.is_file())
        reports.append({path.relative_to(release).as_posix(): DATES.sub("", path.read_bytes().decode("latin-1")) for path in files})
    assert reports[0] == reports[1]
    assert {"report/report.html", "report/metrics.json", "report/per_language.csv", "artifact/policy.json"} <= reports[0].keys()
