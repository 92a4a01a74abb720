"""`python -m export.publish release=... to=...`: hand an artifact on, to a model hub or a folder; a dry run by default."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import hydra
from huggingface_hub import HfApi
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from data_prep.command import UserError, first_line, run_stage, user_errors
from data_prep.files import publish_folder
from data_prep.settings import to_settings
from export.artifact import open_artifact
from export.settings import release_folder


@dataclass
class PublishSettings:
    """The config of `python -m export.publish`."""

    release: str = MISSING
    to: str = MISSING  # OWNER/NAME on the hub, or a path that begins with . or /
    releases_dir: str = "releases"
    private: bool = True  # of a hub repository that does not exist yet
    dry_run: bool = True


def register_schema() -> None:
    """Tell Hydra's config store the types of everything `configs/publish.yaml` may say."""
    ConfigStore.instance().store(name="publish_schema", node=PublishSettings)


def publish(settings: PublishSettings) -> str:
    """Check the artifact and copy it as it is; with `dry_run`, only check it.

    Returns
    -------
    Where it went, or would go.

    Raises
    ------
    UserError
        If the artifact was changed since export, the destination is neither a folder nor a hub repository, a folder
        holds something else already, or the hub refuses.
    """
    artifact = release_folder(settings.releases_dir, settings.release) / "artifact"
    open_artifact(artifact)  # checksums, and a graph that loads
    if settings.to.startswith((".", "/")) or Path(settings.to).is_absolute():
        target = Path(settings.to).resolve()
        if foreign := _foreign_files(target):
            raise UserError(f"{target} holds something that is no artifact's ({foreign[0]}): give an empty or new folder")
        if not settings.dry_run:
            with publish_folder(target) as folder:
                shutil.copytree(artifact, folder, dirs_exist_ok=True)
        return str(target)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.to):
        raise UserError(f"to={settings.to} is neither a hub repository (OWNER/NAME) nor a folder (begin it with ./ or /)")
    if settings.dry_run:
        return f"{settings.to} on the model hub"
    hub = HfApi()
    try:
        hub.create_repo(settings.to, private=settings.private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=settings.to, folder_path=artifact, commit_message=f"Release {settings.release}", delete_patterns="*"
        )  # fmt: skip
    except Exception as error:  # the hub's client and the libraries below it all raise their own
        raise UserError(
            f"the hub did not take {settings.to} ({first_line(error)}): log in with `hf auth login`, or give a folder"
        ) from error
    return str(commit.commit_url)


def _foreign_files(folder: Path) -> list[str]:
    """What a folder holds beside an artifact's own files, as its `SHA256SUMS` lists them, by name; replacing it would lose them."""
    if not folder.exists():
        return []
    sums = folder / "SHA256SUMS"
    listed = {line[66:] for line in sums.read_text(encoding="utf-8", errors="replace").split("\n")} if sums.is_file() else set()
    files = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir() and "__pycache__" not in path.parts}
    return sorted({path.as_posix() for path in files} - listed - {"SHA256SUMS"})


@hydra.main(config_path="../configs", config_name="publish", version_base="1.3")
def main(config: DictConfig) -> None:
    """Publish, or say what would be published."""
    with user_errors():
        settings: PublishSettings = to_settings(config, PublishSettings)
        where = publish(settings)
        artifact = release_folder(settings.releases_dir, settings.release) / "artifact"
        files = sorted(path for path in artifact.rglob("*") if path.is_file())
        if settings.dry_run:
            for path in files:
                print(f"{path.stat().st_size / 2**20:9.2f} MiB  {path.relative_to(artifact)}")
            print(f"dry run: these {len(files)} files would go to {where}")
            print(f"next: read LICENSES.md, then python -m export.publish release={settings.release} to={settings.to} dry_run=false")
        else:
            print(f"{len(files)} files -> {where}")
            print("next: python verify.py there, on the machine that will serve it")


if __name__ == "__main__":
    register_schema()
    run_stage(main)
