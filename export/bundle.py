"""The artifact folder: the contract between export and whoever serves the model."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, sha256, write_json, write_text
from export import client
from export.client import Classifier
from export.graph import INPUTS, OUTPUTS, export_graph
from export.parity import check_parity, measure_parity
from export.settings import ExportSettings, release_folder
from train.encoder import PAD
from train.run import Run, load_run

# Fictional texts and evasions: what any client, in any programming language, must reproduce.
GOLDEN_POSTS = (
    {"language": "en", "text": "The market in Dalmire was full this morning."},
    {"language": "ur", "text": "رُوول میں آج بارش ہوئی اور بس دیر سے آئی۔"},
    {"language": "ur-Latn", "text": "Dalmire mein aaj bazaar band tha yaar"},
    {"language": "fa", "text": "می‌خواهم فردا به دالمیر بروم"},
    {"language": "ar", "text": "السّلام عليكم، كيف الحال في دالمير؟"},
    {"language": "hi", "text": "रूवेल में कल मेला लगा था।"},
    {"language": "bn", "text": "ডালমিরে গতকাল মেলা বসেছিল।"},
    {"language": "ru", "text": "В Рувеле вчера открылась выставка."},
    {"language": "und", "text": "zero\u200bwidth and full-width ＴＥＸＴ </s> <pad> <mask>"},
    {"language": "und", "text": "mail a@b.example, see https://example.org/x and @someone, call +00 000 000 0000"},
    {"language": "und", "text": ""},
    {"language": "und", "text": "long " * 2000},
)


def export_release(settings: ExportSettings) -> Path:
    """Export a run, measure parity and publish the artifact folder atomically.

    Raises
    ------
    UserError
        If the run is unfinished, the release name unusable, or the graph differs from the checkpoint.
    """
    target = release_folder(settings.releases_dir, settings.release) / "artifact"
    run = load_run(Path(settings.run))
    max_length = int(run.record["settings"]["encoder"]["max_length"])
    with publish_folder(target) as folder:
        export_graph(run.model, folder / "model.onnx", settings.opset)
        parity = measure_parity(run.model, run.policy, folder / "model.onnx", max_length)
        check_parity(parity, settings.max_difference)
        shutil.copyfile(run.folder / "tokenizer.json", folder / "tokenizer.json")
        shutil.copyfile(client.__file__, folder / "predict.py")
        write_json(folder / "policy.json", run.policy.to_json())
        write_json(folder / "contract.json", _contract(run, settings, asdict(parity), max_length))
        write_json(folder / "training.json", run.record)
        write_text(folder / "golden.jsonl", "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in golden_lines(folder)))
        write_text(folder / "MODEL_CARD.md", _model_card(run))
        write_checksums(folder)
    return target


def _contract(run: Run, settings: ExportSettings, parity: dict[str, Any], max_length: int) -> dict[str, Any]:
    config = run.model.config
    return {
        "version": 1,
        "heads": list(config.heads),
        "inputs": {name: {"type": "int64", "axes": ["batch", "sequence"]} for name in INPUTS},
        "outputs": {
            OUTPUTS[0]: {"type": "float32", "axes": ["batch", "heads"], "meaning": "uncalibrated logit per head, in the order of `heads`"},
            OUTPUTS[1]: {"type": "float32", "axes": ["batch", "embedding"], "meaning": "L2-normalised pooled vector"},
        },
        "embedding_dimension": config.hidden_size,
        "max_length": max_length,
        "pad_id": PAD,
        "probability": "sigmoid(logit / temperature), that of policy.heads[head].languages[language] or else of policy.heads[head]",
        "decision": "review where the language's tier is not_evaluated or |probability - threshold| < review_band; else flag or pass",
        "opset": settings.opset,
        "parity": parity,
        "onnxruntime": onnxruntime.__version__,
        "run": run.folder.resolve().name,
        "data_sha256": run.record["data_manifest"]["config_sha256"],
    }


def golden_lines(folder: Path) -> list[dict[str, Any]]:
    """What the artifact in `folder` makes of each golden post: token ids, logits, calibrated probabilities."""
    classifier = Classifier(folder)
    lines = []
    for post in GOLDEN_POSTS:
        logits, _ = classifier.run([post["text"]])
        heads = dict(zip(classifier.contract["heads"], logits[0].tolist(), strict=True))
        lines.append(
            {
                **post,
                "ids": classifier.tokenizer.encode(post["text"]).ids,
                "logits": {head: round(logit, 5) for head, logit in heads.items()},
                "probabilities": {head: round(classifier.decide(head, post["language"], logit)[0], 5) for head, logit in heads.items()},
            }
        )
    return lines


def _model_card(run: Run) -> str:
    manifest = run.record["data_manifest"]
    licences = sorted({f"{name}: {source['licence']}" for name, source in manifest["sources"].items()})
    non_commercial = any(source["non_commercial"] for source in manifest["sources"].values())
    return "\n".join(
        [
            f"# Model card: {run.record['settings']['name']}",
            "",
            "Ranks posts for human review by two independent questions: "
            + ", ".join(f"**{name}** ({head['description']})" for name, head in run.record["settings"]["heads"].items()),
            "",
            "**Must not be used** to remove posts or accounts on its own, to score persons, as evidence in law enforcement, "
            "or in a language whose tier in `policy.json` is `not_evaluated`.",
            "",
            f"Encoder: {run.record['settings']['encoder']['name']}. Trained on mixture `{manifest['mixture']}` "
            f"({run.record['figures']['train_rows']:,} rows)." + (" **Contains non-commercial sources.**" if non_commercial else ""),
            "",
            "Sources and licences:",
            *(f"- {licence}" for licence in licences),
            "",
            "Measured per language in the release's report; a language not listed there has not been evaluated.",
            "",
        ]
    )


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` over every other file, in `sha256sum --check` format."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files))


def open_artifact(folder: Path) -> Classifier:
    """The artifact's own client, after its checksums have been verified.

    Raises
    ------
    UserError
        If the folder is no artifact, or a file was changed since export.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise UserError(f"no artifact at {folder}: export one with `python -m export run=<run> release={folder.parent.name}`")
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise UserError(f"{folder / name} is missing or was changed since export: export the release again")
    return Classifier(folder)


def stamp_tiers(folder: Path, tiers: dict[str, dict[str, str]]) -> None:
    """Write measured tiers into the artifact's policy and renew its checksums."""
    policy = read_json(folder / "policy.json")
    if policy["tiers"] != tiers:
        policy["tiers"] = tiers
        write_json(folder / "policy.json", policy)
        write_checksums(folder)
