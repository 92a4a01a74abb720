"""A preparation that is killed leaves the old data set or the new one, whole; two at once do not disturb each other."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import pytest

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, sha256
from data_prep.table import load_examples
from tests.conftest import ROOT

SOURCE = ("engine.workers=1", "hydra.verbose=false")


def start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "data_prep", f"data_dir={folder}", *SOURCE, *overrides]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_whole(folder: Path) -> bool:
    """Whether the published table is there and is exactly what its manifest says."""
    try:
        table = load_examples(folder)
    except UserError:
        return False
    manifest = read_json(folder / "manifest.json")
    for name, digest in manifest["table_sha256"].items():
        assert sha256(folder / "table" / name) == digest, "it loads but is not what was published"
    assert len(table) == manifest["rows"]
    return True


def test_killed_at_random_moments_it_leaves_a_whole_data_set_or_none(tmp_path: Path) -> None:
    generator = random.Random(0)
    first = start(tmp_path)
    began = time.monotonic()
    _, errors = first.communicate(timeout=200)
    assert first.returncode == 0, errors
    duration = time.monotonic() - began
    seeds = []
    for attempt in range(3):  # benchmarks/data_prep_kills.py does it more often
        process = start(tmp_path, f"mixture.split_seed={attempt + 1}")  # each attempt would publish another table
        time.sleep(generator.uniform(0.3, 1.0) * duration)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert is_whole(tmp_path / "sample")
        seeds.append(read_json(tmp_path / "sample" / "manifest.json")["splitting"][2])
    assert all(seed in (0, *range(1, attempt + 2)) for attempt, seed in enumerate(seeds))
    last = start(tmp_path, "mixture.split_seed=9")
    _, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors
    assert is_whole(tmp_path / "sample")
    left = [
        path.name for path in (*tmp_path.glob(".*"), *(tmp_path / ".cache").iterdir()) if "partial" in path.name or "near-dup" in path.name
    ]
    assert left == []


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    one, other = start(tmp_path), start(tmp_path)
    outputs = [process.communicate(timeout=250) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert is_whole(tmp_path / "sample")
    assert any("is up to date" in output for output, _ in outputs)


def test_an_audit_waits_for_a_preparation(prepared_sample: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "data_prep.leakage", f"data_dir={prepared_sample}", *SOURCE]
    with filelock.FileLock(prepared_sample / ".lock"):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert "waiting for it to end" in process.stdout.readline()
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0
    assert "**Passes.**" in output


def test_a_system_that_opens_no_folders_publishes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    opened = os.open

    def refuse_folders(path: str, *arguments: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr("data_prep.files.fcntl", None)
    monkeypatch.setattr("os.open", refuse_folders)
    with publish_folder(tmp_path / "result") as folder:
        (folder / "value").write_text("new")
    assert (tmp_path / "result" / "value").read_text() == "new"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_with_and_without_the_systems_exchange(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr("data_prep.files._exchange", lambda one, other: False)
    for value in ("old", "new"):
        with publish_folder(tmp_path / "result") as folder:
            (folder / "value").write_text(value)
    assert (tmp_path / "result" / "value").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
