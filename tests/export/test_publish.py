"""Publishing copies a checked artifact, and does nothing unless it is told to."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi

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


@pytest.mark.parametrize("name", ["docker-compose.yml", ".git/config", "triton/mine.txt"])
def test_nothing_of_anyone_elses_is_replaced(tiny_workspace: Path, tmp_path: Path, name: str) -> None:
    settings = PublishSettings("tiny", str(tmp_path / "out"), str(tiny_workspace / "releases"), dry_run=False)
    publish(settings)
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=rf"holds something that is no artifact's \({name}\)"):
        publish(settings)
    assert (tmp_path / "out" / name).read_text(encoding="utf-8") == "mine"


def test_the_folder_where_one_is(tiny_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    publish(PublishSettings("tiny", ".", str(tiny_workspace / "releases"), dry_run=False))
    assert altered_files(tmp_path / "out") == []


def test_an_altered_artifact_is_not_published(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "releases" / "mine").mkdir(parents=True)
    artifact.rename(tmp_path / "releases" / "mine" / "artifact")
    (tmp_path / "releases" / "mine" / "artifact" / "policy.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"policy\.json was changed"):
        publish(PublishSettings("mine", "a/b", str(tmp_path / "releases")))


@pytest.mark.parametrize(("name", "offline"), [("a/b", True), ("a/b", False), ("a/--b", False)])
def test_without_a_hub_the_reason_is_one_sentence(tiny_workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str, offline: bool) -> None:
    """Told to keep off, with nobody there who answers, and by a name that no hub has."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("export.publish.HfApi", lambda: HfApi("http://127.0.0.1:9", token="none"))
    with pytest.raises(UserError, match=f"the hub did not take {name}"):
        publish(PublishSettings("tiny", name, str(tiny_workspace / "releases"), dry_run=False))
