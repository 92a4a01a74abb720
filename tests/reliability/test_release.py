"""Bad input of export, evaluation and publishing: runs, artifacts, reports, names and places."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.artifact import stamp_tiers, write_checksums
from tests.reliability.harness import (
    Case,
    check,
    check_sentence,
    parametrised,
    read_only,
    run_here,
    small_disk,
    snapshot,
    without_root,
)

EXPORT = ("run={run}", "release=mine", "releases_dir={folder}/releases", "variants=[]")
EVALUATE = ("release=tiny", "releases_dir={folder}/releases", "data_dir={data}", "gate=demo")


def export_case(name: str, what: str, says: str, *overrides: str) -> Case:
    return Case(name, what, "export", says, [*EXPORT, *overrides])


def evaluate_case(name: str, what: str, says: str, *overrides: str) -> Case:
    return Case(name, what, "evaluate", says, [*EVALUATE, *overrides])


def publish_case(name: str, what: str, says: str, *overrides: str) -> Case:
    return Case(name, what, "export.publish", says, ["release=tiny", "releases_dir={folder}/releases", *overrides])


def suite_case(name: str, what: str, says: str, *overrides: str) -> Case:
    return Case(name, what, "evaluate.functional", says, ["release=tiny", "releases_dir={folder}/releases", *overrides])


SETTINGS = [
    export_case("export-run-missing", "a run that is not there", "no run at nowhere", "run=nowhere"),
    export_case("export-run-unnamed", "no run named", "missing mandatory value: run", "run=???"),
    export_case("export-release-climbs", "`release=../../etc`", "is not a usable name", "release=../../etc"),
    export_case("export-release-empty", "`release=''`", "is not a usable name", "release=''"),
    export_case("export-release-hidden", "`release=.hidden`", "is not a usable name", "release=.hidden"),
    export_case("export-variant-unknown", "`variants=[int4]`", "fp16 and int8 can be asked for", "variants=[int4]"),
    export_case("export-key-mistyped", "a setting that does not exist", "relaese", "relaese=mine"),
    evaluate_case("evaluate-nothing-named", "neither a release nor a run", "give either release", "release=null"),
    evaluate_case("evaluate-both-named", "a release and a run", "give either release", "run={run}"),
    evaluate_case("evaluate-release-missing", "a release that was never exported", "export one with", "release=never"),
    evaluate_case("evaluate-release-climbs", "`release=../tiny`", "is not a usable name", "release=../tiny"),
    evaluate_case("evaluate-data-missing", "data that were not prepared", "holds no prepared data", "data_dir={folder}/data"),
    evaluate_case("evaluate-gate-unknown", "a gate that no config names", "defualt", "gate=defualt"),
    evaluate_case(
        "evaluate-rule-unknown",
        "a rule that the gate does not know",
        "has a rule beauty, which does not exist",
        "hydra.searchpath=[file://{folder}/own]",
        "gate=mine",
    ),
    evaluate_case(
        "evaluate-tier-without-evidence", "a tier that asks for no rows", "asks for no evidence", "gate.tiers.provisional.min_negatives=0"
    ),
    evaluate_case("evaluate-prevalence-zero", "`report.prevalence=0`", "is no share of a stream", "report.prevalence=0"),
    evaluate_case("evaluate-examples-negative", "`report.examples_per_head=-1`", "use 0 or more", "report.examples_per_head=-1"),
    evaluate_case("evaluate-cases-zero", "`probes.cases_per_cell=0`", "use 1 or more, or null for all", "probes.cases_per_cell=0"),
    evaluate_case("evaluate-edits-negative", "`probes.perturbed_rows=-1`", "perturbed_rows=-1 is out", "probes.perturbed_rows=-1"),
    evaluate_case("evaluate-previous-missing", "a previous release that was not evaluated", "cannot be compared with", "previous=never"),
    publish_case("publish-nowhere", "`to=just-a-name`", "neither a hub repository", "to=just-a-name"),
    publish_case(
        "publish-into-thesis",
        "a folder that holds something else",
        "holds something that is no artifact",
        "to={folder}/thesis",
        "dry_run=false",
    ),
    publish_case("publish-release-missing", "a release that was never exported", "python -m export", "release=never", "to=a/b"),
    suite_case("suite-file-missing", "a suite whose file is not there", "is missing", "suite=hatecheck", "suite.file={folder}/none.csv"),
    suite_case(
        "suite-no-csv", "a suite that is no CSV in UTF-8", "is no CSV file", "suite=hatecheck", "suite.file={folder}/thesis/binary.csv"
    ),
    suite_case(
        "suite-columns-missing",
        "a suite without its columns",
        "has no column functionality",
        "suite=hatecheck",
        "suite.file={folder}/thesis/other.csv",
    ),
    suite_case("suite-name-climbs", "`suite.name=../artifact`", "is not a usable name", "suite.name=../artifact"),
    Case("audit-run-missing", "a label audit of no run", "evaluate.label_audit", "no run at nowhere", ["run=nowhere"]),
    Case(
        "audit-one-fold",
        "`folds=1`",
        "evaluate.label_audit",
        "folds=1 is not possible",
        ["run={run}", "folds=1", "data_dir={data}", "out={folder}/out"],
    ),
]


@pytest.fixture
def place(tiny_workspace: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the tiny run, its release, and somebody's own files."""
    shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "releases" / "tiny" / "artifact")
    shutil.copytree((tiny_workspace / "runs" / "tiny" / "latest").resolve(), tmp_path / "run")
    (tmp_path / "own" / "gate").mkdir(parents=True)
    tiers = "tiers: {provisional: {min_negatives: 5, min_positives: 5, max_fpr_upper: 1}}"
    (tmp_path / "own" / "gate" / "mine.yaml").write_text(f"name: mine\n{tiers}\nrules: {{beauty: {{limit: 1}}}}\n", encoding="utf-8")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "binary.csv").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "thesis" / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    return tmp_path


def placed(case: Case, workspace: Path, folder: Path) -> Case:
    words = [word.replace("{data}", str(workspace / "data")).replace("{run}", str(folder / "run")) for word in case.arrange]  # type: ignore[union-attr]
    return Case(case.name, case.what, case.stage, case.says, words)


@parametrised(SETTINGS)
def test_unusable_settings_are_one_sentence(case: Case, place: Path, tiny_workspace: Path) -> None:
    check(placed(case, tiny_workspace, place), place)


def broken_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def pickled_weights(run: Path) -> None:
    """What a run looks like whose weights somebody replaced by a pickle, and took the hashes out of the record."""
    weights = run / "model" / "model.safetensors"
    torch.save(load_file(weights), run / "model" / "pytorch_model.bin")
    weights.unlink()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del record["sha256"]
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")


def policy_without_heads(run: Path) -> None:
    (run / "policy.json").write_text('{"heads": {"a": {}}, "tiers": {}}', encoding="utf-8")


RUNS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "run-unfinished": ("a run that did not finish", "did not finish", lambda run: (run / "run.json").unlink()),
    "run-record-broken-off": ("a run.json that breaks off", "cannot be read as JSON", lambda run: broken_off(run / "run.json")),
    "run-weights-broken-off": ("weights that break off", "is damaged", lambda run: broken_off(run / "model" / "model.safetensors")),
    "run-weights-flipped": (
        "weights with a turned bit",
        "was changed since training",
        lambda run: flipped(run / "model" / "model.safetensors"),
    ),
    "run-weights-gone": ("no weights", "is damaged", lambda run: (run / "model" / "model.safetensors").unlink()),
    "run-weights-pickled": ("pickled weights in the place of safetensors", "model.safetensors", pickled_weights),
    "run-tokenizer-flipped": ("a tokenizer with a turned bit", "was changed since training", lambda run: flipped(run / "tokenizer.json")),
    "run-policy-foreign": ("a policy of another program", "was changed since training", policy_without_heads),
}
DAMAGED_RUNS = [Case(name, what, "export", says, EXPORT) for name, (what, says, _) in RUNS.items()]


@parametrised(DAMAGED_RUNS)
def test_a_damaged_run_is_one_sentence(case: Case, place: Path, tiny_workspace: Path) -> None:
    RUNS[case.name][2](place / "run")
    check(placed(case, tiny_workspace, place), place)


def listed_outside(artifact: Path) -> None:
    sums = artifact / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8") + f"{'0' * 64}  ../../thesis/other.csv\n", encoding="utf-8")


def resealed(artifact: Path, name: str, content: str) -> None:
    (artifact / name).write_text(content, encoding="utf-8")
    write_checksums(artifact)


ARTIFACTS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "artifact-model-flipped": ("a model with a turned bit", "model.onnx was changed", lambda artifact: flipped(artifact / "model.onnx")),
    "artifact-model-broken-off": (
        "a model that breaks off",
        "model.onnx was changed",
        lambda artifact: broken_off(artifact / "model.onnx"),
    ),
    "artifact-file-gone": ("a file that is gone", "tokenizer.json is missing", lambda artifact: (artifact / "tokenizer.json").unlink()),
    "artifact-file-added": (
        "a file that was added",
        "is not listed",
        lambda artifact: (artifact / "run_me.py").write_text("print(1)") and None,
    ),
    "artifact-client-changed": ("a client that was changed", "predict.py was changed", lambda artifact: flipped(artifact / "predict.py")),
    "artifact-checksums-gone": ("no checksums", "no artifact at", lambda artifact: (artifact / "SHA256SUMS").unlink()),
    "artifact-checksums-empty": (
        "an empty list of checksums",
        "is not listed",
        lambda artifact: (artifact / "SHA256SUMS").write_text("") and None,
    ),
    "artifact-checksums-climb": ("checksums of files elsewhere", "names a file outside the release", listed_outside),
    "artifact-contract-foreign": (
        "a contract of another program, with checksums that hold",
        "cannot be used",
        lambda artifact: resealed(artifact, "contract.json", "{}"),
    ),
    "artifact-tokenizer-foreign": (
        "a tokenizer of another program, with checksums that hold",
        "cannot be used",
        lambda artifact: resealed(artifact, "tokenizer.json", "[]"),
    ),
}
DAMAGED_ARTIFACTS = [Case(name, what, "evaluate", says, EVALUATE) for name, (what, says, _) in ARTIFACTS.items()]


@parametrised(DAMAGED_ARTIFACTS)
def test_a_damaged_artifact_is_one_sentence(case: Case, place: Path, tiny_workspace: Path) -> None:
    ARTIFACTS[case.name][2](place / "releases" / "tiny" / "artifact")
    check(placed(case, tiny_workspace, place), place)
    if case.name == "artifact-model-flipped":
        command = ["release=tiny", f"releases_dir={place}/releases", f"to={place}/out", "dry_run=false"]
        check_sentence(run_here("export.publish", *command, cwd=place), case.says)
        assert not (place / "out").exists()


CHANGED = Case(
    "evaluate-data-changed", "data that were prepared anew since training", "evaluate", "was prepared anew after this model was trained", []
)
PREVIOUS = Case(
    "evaluate-previous-damaged", "a previous release whose predictions break off", "evaluate", "evaluate the release first again", []
)
REPORT = Case(
    "evaluate-report-damaged",
    "an earlier report of this release that breaks off",
    "evaluate",
    "no error: the new report takes its place",
    [],
)


def test_damaged_reports_and_changed_data(place: Path, tiny_workspace: Path, tmp_path: Path) -> None:
    """One release with an evaluated predecessor, whose files are spoilt one after the other."""
    command = [word.replace("{data}", str(tiny_workspace / "data")).replace("{folder}", str(place)) for word in EVALUATE]
    command.append("gate.tiers.provisional.min_negatives=5")
    first = run_here("evaluate", *command, cwd=place)
    assert first.code in (0, 1), first.err
    shutil.copytree(place / "releases" / "tiny", place / "releases" / "first")
    broken_off(place / "releases" / "tiny" / "report" / "metrics.json")
    again = run_here("evaluate", *command, cwd=place)
    assert again.code in (0, 1), again.err
    assert json.loads((place / "releases" / "tiny" / "report" / "metrics.json").read_text(encoding="utf-8"))["name"] == "tiny"

    broken_off(place / "releases" / "first" / "report" / "predictions.parquet")
    before = snapshot(place / "releases")
    check_sentence(run_here("evaluate", *command, "previous=first", cwd=place), PREVIOUS.says)
    assert snapshot(place / "releases") == before

    shutil.copytree(tiny_workspace / "data" / "mine", tmp_path / "other" / "mine")
    manifest = tmp_path / "other" / "mine" / "manifest.json"
    training = place / "releases" / "tiny" / "artifact" / "training.json"
    record = json.loads(training.read_text(encoding="utf-8"))
    record["data_manifest"]["table_sha256"] = {"data-00000-of-00001.arrow": "0" * 64}
    training.write_text(json.dumps(record), encoding="utf-8")
    write_checksums(training.parent)
    assert manifest.is_file()
    check_sentence(run_here("evaluate", *command, cwd=place), CHANGED.says)


LOCKED = Case("export-not-writable", "no permission to write to releases_dir", "export", "cannot write to", EXPORT)
READ_ONLY = Case("export-read-only", "releases_dir on a disk that can only be read", "export", "cannot write to", EXPORT)
FULL = Case("export-disk-full", "a disk that fills up while the model is written", "export", "make room there", [])
FULL_COPY = Case("publish-disk-full", "a disk that fills up while an artifact is copied", "export.publish", "make room there", [])
FULL_REPORT = Case("evaluate-disk-full", "a disk that fills up while the report is written", "evaluate", "make room there", [])


@pytest.mark.parametrize("case", [pytest.param(LOCKED, id=LOCKED.name), pytest.param(READ_ONLY, id=READ_ONLY.name)])
def test_a_place_that_cannot_be_written_is_one_sentence(case: Case, place: Path, tiny_workspace: Path) -> None:
    shutil.rmtree(place / "releases")
    (place / "releases").mkdir(mode=0o555)
    with without_root() if case is LOCKED else read_only(place / "releases"):
        check(placed(case, tiny_workspace, place), place)


def test_a_full_disk_leaves_the_old_release(place: Path, tiny_workspace: Path) -> None:
    artifact = place / "releases" / "tiny" / "artifact"
    size = sum(path.stat().st_size for path in artifact.rglob("*")) // 1024
    with small_disk(place, size + 1200) as disk:  # room for half a model beside it
        shutil.copytree(artifact, disk / "mine" / "artifact")
        before = snapshot(disk)
        command = (f"run={place}/run", "release=mine", f"releases_dir={disk}", "variants=[]")
        check_sentence(run_here("export", *command, cwd=place), FULL.says)
        assert snapshot(disk) == before


def test_a_full_disk_leaves_what_was_handed_on(place: Path) -> None:
    artifact = place / "releases" / "tiny" / "artifact"
    size = sum(path.stat().st_size for path in artifact.rglob("*")) // 1024
    with small_disk(place, size + 1200) as disk:
        shutil.copytree(artifact, disk / "handed_on")
        before = snapshot(disk)
        command = ("release=tiny", f"releases_dir={place}/releases", f"to={disk}/handed_on", "dry_run=false")
        check_sentence(run_here("export.publish", *command, cwd=place), FULL_COPY.says)
        assert snapshot(disk) == before


def test_a_full_disk_leaves_the_old_report(place: Path, tiny_workspace: Path) -> None:
    artifact = place / "releases" / "tiny" / "artifact"
    size = sum(path.stat().st_size for path in artifact.rglob("*")) // 1024
    with small_disk(place, size + 100) as disk:
        shutil.copytree(artifact, disk / "tiny" / "artifact")
        before = snapshot(disk / "tiny")
        command = ("release=tiny", f"releases_dir={disk}", f"data_dir={tiny_workspace}/data", "gate=demo")
        check_sentence(run_here("evaluate", *command, cwd=place), FULL_REPORT.says)
        assert snapshot(disk / "tiny") == before


def test_stamping_replaces_the_artifact_as_a_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended in the midst, it leaves the artifact as it was; to its end, one with the new tiers, of which every checksum holds."""
    artifact = place / "releases" / "tiny" / "artifact"
    before = snapshot(artifact)

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("export.artifact.write_checksums", killed)
        with pytest.raises(KeyboardInterrupt):
            stamp_tiers(artifact, {"propaganda": {"en": "supported"}})
    assert snapshot(artifact) == before
    stamp_tiers(artifact, {"propaganda": {"en": "supported"}})
    assert {name for name, digest in snapshot(artifact).items() if digest != before[name]} == {"SHA256SUMS", "golden.jsonl", "policy.json"}


CASES = [*SETTINGS, *DAMAGED_RUNS, *DAMAGED_ARTIFACTS, CHANGED, PREVIOUS, REPORT, LOCKED, READ_ONLY, FULL, FULL_COPY, FULL_REPORT]
