"""verify.py tells a whole release from an altered one, alone and with exit codes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.files import read_json, write_json
from export.artifact import write_checksums
from export.verify import altered_files


def verify(folder: Path) -> "subprocess.CompletedProcess[str]":
    # -I: nothing of this repository is on the path
    return subprocess.run(
        [sys.executable, "-I", str(folder / "verify.py")], capture_output=True, text=True, cwd=folder.parent, check=False
    )  # fmt: skip


def test_a_release_as_exported_passes_and_stays_as_it_is(artifact: Path) -> None:
    for _ in range(2):  # the first run must not leave files that the second complains of
        done = verify(artifact)
        assert done.returncode == 0, done.stderr
        assert "int8: agrees" in done.stdout


def test_one_changed_byte_in_any_file_is_noticed(artifact: Path) -> None:
    files = sorted(path for path in artifact.rglob("*") if path.is_file())
    assert len(files) >= 16
    for path in files:
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(bytes(changed))
            assert altered_files(artifact), f"byte {place} of {path.name}"
        path.write_bytes(content)
    assert altered_files(artifact) == []


@pytest.mark.parametrize("name", ["model.int8.onnx", "golden.jsonl", "SHA256SUMS", "verify.py"])
def test_a_changed_byte_is_loud(artifact: Path, name: str) -> None:
    content = bytearray((artifact / name).read_bytes())
    place = len(content) // 2 if name != "verify.py" else content.index(b"Is this release whole")
    content[place] ^= 1
    (artifact / name).write_bytes(bytes(content))
    done = verify(artifact)
    assert done.returncode == 2
    assert "CHANGED" in done.stderr


def test_added_and_missing_files_are_noticed(artifact: Path) -> None:
    (artifact / "extra.txt").write_text("x", encoding="utf-8")
    (artifact / "LICENSES.md").unlink()
    assert altered_files(artifact) == ["LICENSES.md is missing", "extra.txt is not listed in SHA256SUMS"]


def test_what_hubs_and_file_managers_leave_is_passed_over(artifact: Path) -> None:
    (artifact / ".gitattributes").write_text("*.onnx filter=lfs\n", encoding="utf-8")
    (artifact / ".cache" / "huggingface").mkdir(parents=True)
    (artifact / ".cache" / "huggingface" / "README.md.metadata").write_text("x", encoding="utf-8")
    (artifact / "triton" / ".DS_Store").write_bytes(b"\0")
    assert altered_files(artifact) == []


def test_a_release_whose_files_are_links_is_where_the_links_are(artifact: Path, tmp_path: Path) -> None:
    """As in a model hub's cache: every file lies elsewhere under the name of its hash."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in artifact.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    done = verify(artifact)
    assert done.returncode == 0, done.stderr
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"text": "tea"}\n', encoding="utf-8")
    for arguments in (["predict.py", "--batch", str(posts)], ["match.py", f"bank={posts}", f"posts={posts}"]):
        run = subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True, cwd=artifact, check=False)
        assert "Error" not in run.stderr, run.stderr


def test_a_machine_that_lacks_a_package_is_told_so(artifact: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", "verify.py"], capture_output=True, text=True, cwd=artifact, check=False)
    assert done.returncode == 1
    assert "fp32: cannot be run here (ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_release_without_sums_is_no_release(artifact: Path) -> None:
    (artifact / "SHA256SUMS").unlink()
    assert verify(artifact).returncode == 2


def test_a_machine_that_computes_something_else_is_told_apart(artifact: Path) -> None:
    """All files whole, but fp32 answers as another model would: what a wrong kernel looks like from outside."""
    contract = read_json(artifact / "contract.json")
    contract["variants"]["fp32"]["tolerance"] = 0.0
    shutil.copyfile(artifact / "model.int8.onnx", artifact / "model.onnx")
    write_json(artifact / "contract.json", contract)
    write_checksums(artifact)
    done = verify(artifact)
    assert done.returncode == 1, done.stdout
    assert "fp32: DIFFERS" in done.stdout
    assert "int8: agrees" in done.stdout
