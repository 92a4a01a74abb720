"""The artifact: what the checkpoint says, in a folder that needs nothing from this repository and shows tampering."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from huggingface_hub import ModelCard

from data_prep.command import UserError
from data_prep.files import read_json
from export.artifact import open_artifact, stamp_tiers
from export.parity import Parity, check_parity, measure_parity
from export.settings import release_folder
from export.variants import Variant, check_fp16
from train.run import load_run


def test_axes_and_names_are_as_the_contract_says(artifact: Path) -> None:
    graph = onnx.load(artifact / "model.onnx").graph
    contract = read_json(artifact / "contract.json")
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert axes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
        "logits": ["batch", 2],
        "probabilities": ["batch", 2],
        "sentence_embedding": ["batch", contract["embedding_dimension"]],
    }
    assert onnx.load(artifact / "model.onnx").opset_import[0].version == contract["opset"]


def test_parity_is_measured_and_enforced(tiny_workspace: Path, artifact: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    parity = measure_parity(run.model, run.policy, artifact / "model.onnx", 64)
    assert parity.max_logit_difference < 1e-4
    assert parity.decision_flips == 0
    with pytest.raises(UserError, match=r"differs from the checkpoint by 3\.0e-02"):
        check_parity(Parity(9, 0.03, 0.0, 0.0, 0), 1e-4)
    with pytest.raises(UserError, match="flips 1 decisions"):
        check_parity(Parity(9, 0.0, 0.0, 0.0, 1), 1e-4)
    with pytest.raises(UserError):
        check_parity(Parity(9, float("nan"), 0.0, 0.0, 0), 1e-4)


def test_a_graph_that_gives_no_number_does_not_pass_parity(tiny_workspace: Path, artifact: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    graph = onnx.load(artifact / "model.onnx")
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name == "model.classifier.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(2, np.nan, dtype=np.float32), bias.name))
    onnx.save(graph, artifact / "model.onnx")
    parity = measure_parity(run.model, run.policy, artifact / "model.onnx", 64)
    assert np.isnan(parity.max_logit_difference)
    with pytest.raises(UserError, match="differs from the checkpoint"):
        check_parity(parity, 1e-4)


@pytest.mark.parametrize(("difference", "ships"), [(0.01, True), (0.06, False), (np.nan, False)])
def test_fp16_ships_within_its_tolerance(tmp_path: Path, difference: float, ships: bool) -> None:
    for name in ("model.onnx", "model.fp16.onnx", "model.fp16.onnx.data"):
        (tmp_path / name).write_bytes(b"")
    variant = Variant("fp16", True, "for GPUs")
    check_fp16(variant, Parity(1, difference, 0.0, 0.0, 0), tmp_path)
    assert variant.ships == ships
    assert sorted(path.name for path in tmp_path.glob("model.fp16*")) == (["model.fp16.onnx", "model.fp16.onnx.data"] if ships else [])


def test_another_model_does_not_pass_parity(tiny_workspace: Path, artifact: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    run.model.classifier.bias.data += 0.01
    assert measure_parity(run.model, run.policy, artifact / "model.onnx", 64).max_logit_difference > 5e-3


def test_the_client_is_short_enough_to_read(artifact: Path) -> None:
    assert len((artifact / "predict.py").read_text(encoding="utf-8").splitlines()) < 120


def test_the_client_runs_alone_and_repeats_the_golden_vectors(artifact: Path, tmp_path: Path) -> None:
    golden = [json.loads(line) for line in (artifact / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    posts = "".join(json.dumps({"text": line["text"], "language": line["language"]}) + "\n" for line in golden)
    # -I: no PYTHONPATH and no working directory on the path, so nothing of this repository can be imported
    done = subprocess.run(
        [sys.executable, "-I", str(artifact / "predict.py")], input=posts, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(golden)
    for answer, line in zip(answers, golden, strict=True):
        for head, said in answer.items():
            assert abs(said["probability"] - line["outputs"]["fp32"][head]["probability"]) < 1e-4
            assert said["decision"] == "review", "no language has been evaluated yet"
    assert golden[-2]["ids"] == [0, 2]
    assert len(golden[-1]["ids"]) == 64
    assert not any({0, 1, 2} & set(line["ids"][1:-1]) for line in golden)


def test_the_line_mode_reads_utf_8_wherever_it_runs(artifact: Path, golden: list[dict[str, Any]], tmp_path: Path) -> None:
    """Windows hands over a code page of its own."""
    posts = "".join(json.dumps({"text": line["text"]}, ensure_ascii=False) + "\n" for line in golden)
    (tmp_path / "posts.jsonl").write_text(posts, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, str(artifact / "predict.py")]
    by_line = subprocess.run(command, input=posts.encode(), capture_output=True, env=environment, check=True)
    by_batch = subprocess.run([*command, "--batch", str(tmp_path / "posts.jsonl")], capture_output=True, env=environment, check=True)
    probabilities = [
        [[of["probability"] for of in json.loads(line).values()] for line in done.stdout.decode().splitlines()]
        for done in (by_line, by_batch)
    ]
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-4)


def test_decisions_follow_tier_threshold_and_band(artifact: Path) -> None:
    stamp_tiers(artifact, {"propaganda": {"en": "supported", "ur": "not_evaluated"}, "violence_glorification": {}})
    classifier = open_artifact(artifact)
    classifier.policy["heads"]["propaganda"].update(
        temperature=2.0, intercept=0.0, threshold=0.5, review_odds=1.5, languages={"en": {"threshold": 0.7}}
    )
    decisions = [
        classifier.decide("propaganda", language, logit)[1]
        for language, logit in (("en", 4.0), ("en", 2.0), ("en", 0.5), ("ur", 9.0), ("xx", 9.0))
    ]
    assert decisions == ["flag", "review", "pass", "review", "review"]
    assert np.isclose(classifier.decide("propaganda", "en", 4.0)[0], 1 / (1 + np.exp(-2)))


@pytest.mark.parametrize("name", ["model.onnx", "policy.json", "tokenizer.json", "predict.py"])
def test_one_changed_byte_is_noticed(artifact: Path, name: str) -> None:
    content = bytearray((artifact / name).read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / name).write_bytes(bytes(content))
    with pytest.raises(UserError, match="was changed, since export"):
        open_artifact(artifact)


def test_stamped_tiers_keep_the_checksums_valid(artifact: Path) -> None:
    stamp_tiers(artifact, {"propaganda": {"en": "provisional"}, "violence_glorification": {}})
    assert open_artifact(artifact).policy["tiers"]["propaganda"] == {"en": "provisional"}


def test_stamped_tiers_reach_the_golden_decisions(artifact: Path) -> None:
    stamp_tiers(artifact, {"propaganda": {"en": "supported"}, "violence_glorification": {}})
    classifier = open_artifact(artifact)
    first = json.loads((artifact / "golden.jsonl").read_text(encoding="utf-8").split("\n")[0])
    for of_variant in first["outputs"].values():
        for head, said in of_variant.items():
            assert said["decision"] == classifier.decide(head, "en", said["logit"])[1]
    assert first["outputs"]["fp32"]["violence_glorification"]["decision"] == "review"


def test_batch_mode_answers_as_the_line_mode_does(artifact: Path, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"tea {'zz ' * count}\u2028", "language": "en"}) + "\n" for count in range(9)) + "\n"
    (tmp_path / "posts.jsonl").write_text(lines, encoding="utf-8")
    command = [sys.executable, "-I", str(artifact / "predict.py"), "--variant", "int8"]
    streamed = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    batched = subprocess.run([*command, "--batch", str(tmp_path / "posts.jsonl")], capture_output=True, text=True, check=True)
    one, other = ([json.loads(line)["propaganda"]["probability"] for line in done.stdout.splitlines()] for done in (streamed, batched))
    assert len(one) == 9
    assert np.allclose(one, other, atol=1e-3)


def test_card_licences_and_contract_say_what_was_trained_on(artifact: Path) -> None:
    contract = read_json(artifact / "contract.json")
    assert contract["sha256"]["model.int8.onnx"] in (artifact / "SHA256SUMS").read_text(encoding="utf-8")
    assert set(contract["variants"]) == {"fp32", "fp16", "int8"}
    card = ModelCard.load(artifact / "README.md")
    assert card.content == ModelCard.load(artifact / "MODEL_CARD.md").content
    assert card.data.language == ["en", "ur-Latn"]
    assert "LICENSES.md" in card.text
    assert "| Posts | CC0-1.0 | no | a test |" in (artifact / "LICENSES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "x" * 65])
def test_release_names_stay_inside_the_folder(name: str) -> None:
    with pytest.raises(UserError, match="not a usable name"):
        release_folder("releases", name)
