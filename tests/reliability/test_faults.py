"""Killed, out of disk, damaged: the old or the new result is whole, and a rerun succeeds. The long version is benchmarks/faults.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.command import UserError
from data_prep.files import publish_folder
from data_prep.table import load_examples
from export.verify import altered_files
from tests.conftest import ROOT, prepare_rows, tiny_rows
from train.encoding import encode
from train.run import load_run


@pytest.mark.timeout(900)  # a minute of work, but the machine may have other work
def test_a_kill_of_every_stage() -> None:
    command = [sys.executable, "benchmarks/faults.py", "--quick", "--parts", "kills"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["wrong"] == 0
    assert summary["kills"] == 6


def start_and_kill(parent: Path) -> Path:
    """A folder that a killed process was about to publish."""
    child = os.fork()
    if child == 0:
        with publish_folder(parent / "release") as folder:
            (folder / "model").write_text("half", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = parent.glob(".release.partial-*")
    return left


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    left = start_and_kill(tmp_path)
    with publish_folder(tmp_path / "release") as mine:
        assert not left.exists()
        (mine / "model").write_text("mine", encoding="utf-8")
        with publish_folder(tmp_path / "release") as other:
            assert mine.exists(), "its process lives"
            (other / "model").write_text("other", encoding="utf-8")
        assert (tmp_path / "release" / "model").read_text(encoding="utf-8") == "other"
    assert (tmp_path / "release" / "model").read_text(encoding="utf-8") == "mine", "the last to finish has the last word"
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize("file", ["examples.arrow", "rejections.json", "account.json"])
@pytest.mark.parametrize("kind", ["broken off", "turned bit"])
def test_a_damaged_cache_of_a_source_is_made_anew(file: str, kind: str, tmp_path: Path) -> None:
    folder = prepare_rows(tmp_path, tiny_rows(40))
    (cached,) = (tmp_path / "data" / ".cache").glob(f"posts-*/{file}")
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(bytes(content) if kind == "turned bit" else content[: len(content) // 2])
    shutil.rmtree(folder)
    assert len(load_examples(prepare_rows(tmp_path, tiny_rows(40)))) == 40


@pytest.mark.parametrize("file", ["manifest.json", "table/state.json", "table/dataset_info.json", "table/data-00000-of-00001.arrow"])
def test_a_damaged_table_is_prepared_again_when_asked(file: str, tmp_path: Path) -> None:
    """And not called up to date, which would leave nobody a way out."""
    folder = prepare_rows(tmp_path, tiny_rows(40))
    (folder / file).write_bytes((folder / file).read_bytes()[:60])
    with pytest.raises(UserError, match=r"prepare it again|run the stage that writes it again"):
        load_examples(folder)
    assert len(load_examples(prepare_rows(tmp_path, tiny_rows(40)))) == 40


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None], ids=["empty", "broken off", "turned bit"])
def test_a_damaged_cache_of_tokens_is_made_anew(damage: bytes | None, tiny_workspace: Path, tmp_path: Path) -> None:
    tokenizer = load_run(tiny_workspace / "runs" / "tiny" / "latest").tokenizer
    texts = ["rain in Ruvel", "tea"]
    wanted = [ids.tolist() for ids in encode(texts, tokenizer, tmp_path)]
    (kept,) = tmp_path.glob("*.npy")
    content = bytearray(kept.read_bytes())
    content[-9] ^= 1
    kept.write_bytes(bytes(content) if damage is None else damage)
    assert [ids.tolist() for ids in encode(texts, tokenizer, tmp_path)] == wanted
    assert [ids.tolist() for ids in encode(texts, tokenizer, tmp_path)] == wanted, "and it is kept again"


def test_two_exports_of_one_release_take_turns_in_silence(tiny_workspace: Path, tmp_path: Path) -> None:
    """Each publishes a whole artifact; the last stays."""
    shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "one")
    with publish_folder(tmp_path / "artifact") as first, publish_folder(tmp_path / "artifact") as second:
        for folder in (first, second):
            shutil.copytree(tmp_path / "one", folder, dirs_exist_ok=True)
    assert altered_files(tmp_path / "artifact") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "one"]
