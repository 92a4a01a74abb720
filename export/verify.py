#!/usr/bin/env python3
"""Is this release whole, and does it compute here what it computed where it was exported?

    python verify.py

Checks every file against `SHA256SUMS`, then replays `golden.jsonl` with every variant: token ids must be equal,
logits within the variant's tolerance, decisions equal. Needs only onnxruntime, tokenizers and numpy.
Exit codes: 0 all is well; 1 this machine computes something else, or cannot (do not serve from it); 2 a file was changed, added or lost.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).absolute().parent  # links are not followed: a model hub's cache keeps the files themselves elsewhere


def altered_files(folder: Path) -> list[str]:
    """What is wrong with the files of `folder`: one sentence each, none if all are as listed.

    Hidden files and folders are passed over: hubs, version control and file managers leave theirs, and a release has none.
    """
    complaints = []
    listed = {"SHA256SUMS"}
    for line in (folder / "SHA256SUMS").read_bytes().decode("utf-8", "replace").split("\n")[:-1]:
        entry = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if entry is None:
            complaints.append(f"SHA256SUMS has a line that is none of its format: {line[:80]!r}")
            continue
        digest, name = entry.groups()
        listed.add(name)
        if ".." in Path(name).parts or Path(name).is_absolute():
            complaints.append(f"SHA256SUMS names a file outside the release: {name}")
            continue
        if not (folder / name).is_file():
            complaints.append(f"{name} is missing")
            continue
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                complaints.append(f"{name} was changed")
    present = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    own = {path.as_posix() for path in present if not any(part.startswith((".", "__pycache__")) for part in path.parts)}
    return complaints + [f"{name} is not listed in SHA256SUMS" for name in sorted(own - listed)]


def golden_differences(folder: Path, variant: str) -> tuple[list[str], float]:
    """How this machine's answers differ from the golden ones, and by how much the logits do at most."""
    sys.path.insert(0, str(folder))
    from predict import Classifier  # type: ignore[import-not-found]  # only now: the file has been checked

    classifier = Classifier(folder, variant)
    tolerance = classifier.contract["variants"][variant]["tolerance"]
    complaints, largest = [], 0.0
    for number, line in enumerate((folder / "golden.jsonl").read_text(encoding="utf-8").split("\n")[:-1], start=1):
        golden = json.loads(line)
        if classifier.encode([golden["text"]])[0] != golden["ids"]:
            complaints.append(f"{variant}: golden line {number}: other token ids")
            continue
        logits, _ = classifier.run([golden["text"]])
        for head, logit in zip(classifier.contract["heads"], logits[0].tolist(), strict=True):
            said = golden["outputs"][variant][head]
            difference = abs(logit - said["logit"])
            largest = max(largest, difference)
            if not difference <= tolerance:
                complaints.append(f"{variant}: golden line {number}: {head} logit {logit:.4f}, should be {said['logit']:.4f}")
            elif classifier.decide(head, golden["language"], logit)[1] != said["decision"]:
                complaints.append(f"{variant}: golden line {number}: {head} decision differs")
    return complaints, largest


def main() -> int:
    """Check, report, and return the exit code."""
    try:
        altered = altered_files(FOLDER)
    except OSError as error:
        altered = [f"SHA256SUMS cannot be read: {error.strerror}"]
    if altered:
        print("CHANGED: " + "; ".join(altered), file=sys.stderr)
        return 2
    print("files: all as listed in SHA256SUMS")
    failed = False
    for variant in sorted(json.loads((FOLDER / "contract.json").read_text(encoding="utf-8"))["variants"]):
        try:
            complaints, largest = golden_differences(FOLDER, variant)
        except Exception as error:  # a package is missing, or too old for the graph: onnxruntime raises many kinds
            reason = f"{type(error).__name__}: {error}"
            print(f"{variant}: cannot be run here ({reason}): install onnxruntime, tokenizers and numpy", file=sys.stderr)
            failed = True
            continue
        print(f"{variant}: {'DIFFERS' if complaints else 'agrees'}, logits within {largest:.1e} of the golden ones")
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        failed = failed or bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # the folder stays as it is listed
    sys.exit(main())
