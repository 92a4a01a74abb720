"""The artifact folder: the contract between export and whoever serves the model."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from datasets import Dataset

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, sha256, write_json, write_text
from export import client, match, verify
from export.agreement import find_evidence, find_table
from export.artifact import decided, json_lines, write_checksums
from export.card import licences, model_card
from export.client import CORES, Classifier
from export.graph import INPUTS, OUTPUTS, embedding_dimension, export_graph, save_graph
from export.mirror import calibrate
from export.parity import check_finite, check_parity, measure_parity
from export.settings import ExportSettings, release_folder
from export.triton import write_repository
from export.variants import TOLERANCE, Variant, check_fp16, write_variants
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
    {"language": "und", "text": "D\u0430lm\u0456re in Cyrillic look-alikes, 𝗗𝗮𝗹𝗺𝗶𝗿𝗲 in mathematical letters"},
    {"language": "ur", "text": "ﺭﻭﻭﻝ ﻣﻴﮟ presentation forms, ك and ي for ک and ی, tatweel مـــیں"},
    {"language": "und", "text": "\u202eright to left\u202c, so\u00adft hyp\u2060hen, joy 😂👨\u200d👩\u200d👧 sooooo\nnew\tline"},
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
    unknown = set(settings.variants) - (set(TOLERANCE) - {"fp32"})
    if unknown:
        raise UserError(f"variants names {', '.join(sorted(unknown))}: fp16 and int8 can be asked for, and fp32 is always there")
    run = load_run(Path(settings.run))
    max_length = int(run.record["settings"]["encoder"]["max_length"])
    table = find_table(run, settings.data_dir)
    evidence = table if isinstance(table, str) else find_evidence(run, table, settings.agreement)
    with publish_folder(target) as folder:
        graph = export_graph(run.model, run.policy, settings.opset)
        save_graph(graph, folder / "model.onnx", settings.external_above)
        parity = measure_parity(run.model, run.policy, folder / "model.onnx", max_length)
        check_parity(parity, settings.max_difference)
        parities = {"fp32": asdict(parity)}
        variants = write_variants(graph, folder, evidence, settings)
        for variant in variants:
            if variant.ships:
                parity = measure_parity(run.model, run.policy, folder / _file(variant.name), max_length)
                check_fp16(variant, parity, folder)
            if variant.ships:
                parities[variant.name] = asdict(parity)
        shutil.copyfile(run.folder / "tokenizer.json", folder / "tokenizer.json")
        shutil.copyfile(client.__file__, folder / "predict.py")
        shutil.copyfile(match.__file__, folder / "match.py")
        shutil.copyfile(verify.__file__, folder / "verify.py")
        write_json(folder / "policy.json", run.policy.to_json())
        write_json(folder / "training.json", run.record)
        for name in parities:
            check_finite(folder / _file(name), max_length)
            write_repository(folder / "triton", name, sorted(folder.glob(f"{_file(name)}*")))
        write_json(folder / "contract.json", _contract(run, settings, graph, parities, variants, folder))
        mirror = calibrate(Classifier(folder, workers=CORES), distinct_texts(table), settings.mirror)
        write_json(folder / "mirror.json", mirror | ({"note": f"no thresholds: {table}"} if isinstance(table, str) else {}))
        write_text(folder / "golden.jsonl", json_lines(golden_lines(folder)))
        for name in ("MODEL_CARD.md", "README.md"):  # by the second name a model hub shows it, and knows its licence
            write_text(folder / name, model_card(run, variants))
        write_text(folder / "LICENSES.md", licences(run.record["data_manifest"]))
        write_checksums(folder)
    return target


def distinct_texts(table: Dataset | str) -> list[str]:
    """One training text of each family: what different posts look like. None where the data are not at hand."""
    if isinstance(table, str):
        return []
    of_family: dict[str, str] = {}
    for text, family, split in zip(table["text"][:], table["family"][:], table["split"][:], strict=True):
        if split == "train":
            of_family.setdefault(family, text)
    return list(of_family.values())


def _file(variant: str) -> str:
    return "model.onnx" if variant == "fp32" else f"model.{variant}.onnx"


def _contract(
    run: Run, settings: ExportSettings, graph: onnx.ModelProto, parities: dict[str, Any], variants: list[Variant], folder: Path
) -> dict[str, Any]:
    hashed = [*sorted(folder.glob("model*.onnx*")), folder / "tokenizer.json"]
    return {
        "version": 3,
        "heads": list(run.model.config.heads),
        "inputs": {name: {"type": "int64", "axes": ["batch", "sequence"]} for name in INPUTS},
        "outputs": {
            OUTPUTS[0]: {"type": "float32", "axes": ["batch", "heads"], "meaning": "uncalibrated logit per head, in the order of `heads`"},
            OUTPUTS[1]: {
                "type": "float32",
                "axes": ["batch", "heads"],
                "meaning": "sigmoid(logit / temperature + intercept), both of policy.heads[head]; where a language has its own, compute "
                "the probability from `logits` with those instead",
            },
            OUTPUTS[2]: {"type": "float32", "axes": ["batch", "embedding"], "meaning": "L2-normalised vector"},
        },
        "embedding_dimension": embedding_dimension(graph),
        "max_length": int(run.record["settings"]["encoder"]["max_length"]),
        "pad_id": PAD,
        "score": "an estimate of the probability that a person who follows the labels' definition would say yes, for text like the "
        "validation rows; it orders posts for review and is no measure of harm",
        "probability": "sigmoid(logit / temperature + intercept), both of policy.heads[head].languages[language] if that is there, else of "
        "policy.heads[head]",
        "decision": "review where the language's tier is not_evaluated (or not named), or where the odds, probability / (1 - probability), "
        "are less than review_odds times the threshold's and the threshold's less than review_odds times the odds; "
        "else flag if probability >= threshold, else pass",
        "opset": settings.opset,
        "variants": {name: {"file": _file(name), "tolerance": TOLERANCE[name], "parity": parity} for name, parity in parities.items()},
        "measured": {variant.name: variant.to_json() for variant in variants},
        "parity": parities["fp32"],
        "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, **run.record["versions"]},
        "sha256": {path.name: sha256(path) for path in hashed},
        "run": run.folder.resolve().name,
        "data_sha256": run.record["data_manifest"]["config_sha256"],
    }


def golden_lines(folder: Path) -> list[dict[str, Any]]:
    """What each variant of the artifact in `folder` makes of each golden post: token ids; logit, probability and decision per head."""
    lines: list[dict[str, Any]] = [{**post, "ids": [], "outputs": {}} for post in GOLDEN_POSTS]
    for variant in read_json(folder / "contract.json")["variants"]:
        classifier = Classifier(folder, variant)
        for line in lines:
            (line["ids"],) = classifier.encode([line["text"]])
            logits, _ = classifier.run([line["text"]])  # one by one: nothing of one text may depend on another
            heads = zip(classifier.contract["heads"], logits[0].tolist(), strict=True)
            line["outputs"][variant] = {head: {"logit": round(logit, 5)} for head, logit in heads}
    return decided(lines, read_json(folder / "policy.json"))
