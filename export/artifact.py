"""An artifact as its readers find it: opened, checked, stamped with tiers. Needs no torch, as an artifact does not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from data_prep.command import UserError, first_line
from data_prep.files import publish_folder, read_json, sha256, write_json, write_text
from export import verify
from export.client import CORES, Classifier, decide


def open_artifact(folder: Path) -> Classifier:
    """The artifact's own client, for many texts at once, after its checksums have been verified.

    Raises
    ------
    UserError
        If the folder is no artifact, a file was changed since export, or the client cannot work with what is there.
    """
    if not (folder / "SHA256SUMS").is_file():
        raise UserError(f"no artifact at {folder}: export one with `python -m export run=<run> release={folder.parent.name}`")
    altered = verify.altered_files(folder)
    if altered:
        raise UserError(f"{folder}: {'; '.join(altered)}, since export: export the release again")
    try:
        return Classifier(folder, workers=CORES)
    except Exception as error:  # whatever JSON, the tokenizer and onnxruntime raise: the files are as listed, and still no artifact
        raise UserError(f"{folder} cannot be used ({first_line(error)}): export the release again") from error


def stamp_tiers(folder: Path, tiers: dict[str, dict[str, str]]) -> None:
    """Write measured tiers into the artifact's policy, and renew what follows from them: golden decisions and checksums.

    The artifact changes as a whole: a process killed at any moment leaves the old or the new one, with checksums that hold.
    """
    policy = read_json(folder / "policy.json")
    if policy["tiers"] == tiers:
        return
    policy["tiers"] = tiers
    golden = (folder / "golden.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    with publish_folder(folder) as stamped:
        shutil.copytree(folder, stamped, dirs_exist_ok=True, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__"))
        write_json(stamped / "policy.json", policy)
        write_text(stamped / "golden.jsonl", json_lines(decided([json.loads(line) for line in golden], policy)))
        write_checksums(stamped)


def decided(lines: list[dict[str, Any]], policy: dict[str, Any]) -> list[dict[str, Any]]:
    """Golden lines with the probability and the decision that the policy makes of each logit."""
    for line in lines:
        for outputs in line["outputs"].values():
            for head, said in outputs.items():
                probability, said["decision"] = decide(policy, head, line["language"], said["logit"])
                said["probability"] = round(probability, 5)
    return lines


def json_lines(lines: list[dict[str, Any]]) -> str:
    """Each entry as one line of JSON."""
    return "".join(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n" for line in lines)


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` over every other file, in `sha256sum --check` format."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files))


def _link(source: str, target: str) -> None:
    """The same file under a second name, or a copy where the disk knows no such thing; what is written later takes a new file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
