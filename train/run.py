"""The run folder: the contract between training and export."""

import contextlib
import itertools
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import torch
from omegaconf.errors import OmegaConfBaseException
from tokenizers import Tokenizer

from data_prep.command import UserError, first_line
from data_prep.files import open_as_umask_says, read_json, sha256, write_json, write_text
from data_prep.secrets import masked
from data_prep.settings import to_settings
from train.model import MultiHeadClassifier
from train.policy import Policy
from train.settings import TrainSettings

LOCK = ".lock"
_SEALED = ("model/config.json", "model/model.safetensors", "tokenizer.json", "policy.json")
_RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "scikit-learn", "hydra-core")


@dataclass
class Run:
    """A finished run: its folder, model, tokenizer, policy and the record of how it came about."""

    folder: Path
    model: MultiHeadClassifier
    tokenizer: Tokenizer
    policy: Policy
    record: dict[str, Any]


def begin_run(folder: Path, settings: TrainSettings, data_manifest: dict[str, Any]) -> Path:
    """Make the folder of a new run and write what resuming it needs; a taken name gets a number.

    Raises
    ------
    UserError
        If the folder cannot be made.
    """
    for number in itertools.count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make the run folder {folder}: {error.strerror}; give a runs_dir that is writable") from error
        write_json(candidate / "begun.json", {"settings": masked(asdict(settings)), "table_sha256": data_manifest["table_sha256"]})
        return candidate
    raise AssertionError


def unfinished_settings(folder: Path) -> TrainSettings:
    """The settings that a run began with.

    Raises
    ------
    UserError
        If there is no such run, it is finished, or its record is damaged.
    """
    if not (folder / "begun.json").is_file():
        raise UserError(f"resume={folder} is no folder of a run: give runs/<name>/<timestamp>")
    if (folder / "run.json").is_file():
        raise UserError(f"the run {folder} is finished: export it with `python -m export run={folder} release=<name>`")
    try:
        settings: TrainSettings = to_settings(read_json(folder / "begun.json")["settings"], TrainSettings)
    except (LookupError, TypeError, OmegaConfBaseException) as error:
        raise UserError(f"{folder / 'begun.json'} is not what a run of this version writes ({first_line(error)}): train anew") from error
    return settings


@contextlib.contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Nobody else trains this run meanwhile; the lock ends with the process, however that ends.

    Raises
    ------
    UserError
        If another process does.
    """
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "checkpoints" / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"another process trains {folder}: wait for it to end, or stop it first") from None
    try:
        yield
    finally:
        lock.release()


def save_run(
    folder: Path,
    settings: TrainSettings,
    model: MultiHeadClassifier,
    tokenizer: Tokenizer,
    policy: Policy,
    data_manifest: dict[str, Any],
    log: list[dict[str, Any]],
    figures: dict[str, float],
) -> None:
    """Write everything export needs; `run.json` comes last and marks the run as complete."""
    model.save_pretrained(folder / "model")
    open_as_umask_says(folder / "model")
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    write_json(folder / "policy.json", policy.to_json())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in log))
    write_json(
        folder / "run.json",
        {
            "settings": masked(asdict(settings)),
            "data_manifest": data_manifest,
            "figures": figures,
            "versions": {package: version(package) for package in _RECORDED_PACKAGES},
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "sha256": {name: sha256(folder / name) for name in _SEALED},
        },
    )


def load_run(folder: Path) -> Run:
    """Read a finished run.

    Raises
    ------
    UserError
        If the folder is missing, the run did not finish, or a file is missing or not what the run wrote.
    """
    if not folder.is_dir():
        raise UserError(f"no run at {folder}: train one with `python -m train experiment=quickstart`")
    if not (folder / "run.json").is_file():
        raise UserError(f"the run {folder} did not finish: go on with `python -m train resume={folder}`, or give a finished run")
    record = read_json(folder / "run.json")
    try:
        for name, digest in record.get("sha256", {}).items():  # runs of earlier versions have none
            if sha256(folder / name) != digest:
                raise UserError(f"the run {folder} is damaged ({name} was changed since training): restore it from a copy, or train again")
        return Run(
            folder=folder,
            # never pickled weights, and never the hub: a run folder has all it needs
            model=MultiHeadClassifier.from_pretrained(folder / "model", use_safetensors=True, local_files_only=True).eval(),
            tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
            policy=Policy.from_json(read_json(folder / "policy.json")),
            record=record,
        )
    except UserError:
        raise
    except Exception as error:  # the libraries below raise errors of many kinds for a damaged file
        raise UserError(f"the run {folder} is damaged ({first_line(error)}): restore it from a copy, or train again") from error


def point_latest(folder: Path) -> None:
    """Make `latest` beside the run folder a link to it, atomically."""
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.replace(link)
