"""Publishing copies a checked artifact, and does nothing unless it is told to."""

from pathlib import Path

import pytest

from data_prep.command import UserError
from export.publish import PublishSettings, publish
from export.verify import altered_files
from tests.conftest import run_stage_process


def test_a_dry_run_writes_nothing_and_lists_everything(tiny_workspace: Path, tmp_path: Path) -> None:
    arguments = ("release=tiny", f"releases_dir={tiny_workspace / 'releases'}", f"to={tmp_path / 'out'}")
    done = run_stage_process("export.publish", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "triton/classifier_int8/1/model.onnx" in done.stdout
    assert "dry_run=false" in done.stdout.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_receives_a_whole_copy_and_later_a_newer_one(tiny_workspace: Path, tmp_path: Path) -> None:
    settings = PublishSettings("tiny", str(tmp_path / "out"), str(tiny_workspace / "releases"), dry_run=False)
    for _ in range(2):
        publish(settings)
        assert altered_files(tmp_path / "out") == []


def test_what_cannot_be_published_is_one_sentence(tiny_workspace: Path, artifact: Path, tmp_path: Path) -> None:
    releases = str(tiny_workspace / "releases")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="no artifact"):
        publish(PublishSettings("tiny", str(tmp_path / "mine"), releases, dry_run=False))
    with pytest.raises(UserError, match="neither a hub repository"):
        publish(PublishSettings("tiny", "just-a-name", releases))
    with pytest.raises(UserError, match="python -m export"):
        publish(PublishSettings("never", "a/b", releases))


def test_an_altered_artifact_is_not_published(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "releases" / "mine").mkdir(parents=True)
    artifact.rename(tmp_path / "releases" / "mine" / "artifact")
    (tmp_path / "releases" / "mine" / "artifact" / "policy.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"policy\.json was changed"):
        publish(PublishSettings("mine", "a/b", str(tmp_path / "releases")))


def test_without_a_hub_the_reason_is_one_sentence(tiny_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub did not take a/b"):
        publish(PublishSettings("tiny", "a/b", str(tiny_workspace / "releases"), dry_run=False))
