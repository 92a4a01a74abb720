"""Two processes train as one does, each with a whole model or with a shard: the same loss at the same global batch, one run folder."""

import json
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from data_prep.command import UserError
from data_prep.files import read_json
from tests.conftest import ROOT, run_stage_process, start_stage_process, tiny_rows, tiny_settings, write_jsonl
from train.limits import check_train_settings

# what `accelerate launch --use_fsdp` with its options tells its processes
SHARDS = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_TRANSFORMER_CLS_TO_WRAP": "XLMRobertaLayer",
}  # fmt: skip
SOURCE = """
name: posts
title: t
origin: o
licence: CC0-1.0
files: posts.jsonl
reader: {format: jsonl}
text: text
language: {column: lang}
split: {column: split}
labels:
  propaganda: {propaganda: {"1": 1, "0": 0, "": null}}
  violence_glorification: {violence_glorification: {"1": 1, "0": 0, "": null}}
"""


def losses(folder: Path) -> list[float]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry] + [entry["eval_loss"] for entry in entries if "eval_loss" in entry]


def check_end(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And learn on, after the model was pruned, from what it was before."""
    write_jsonl(tmp_path / "raw" / "posts.jsonl", tiny_rows(240))
    for name, content in {"source/posts": SOURCE, "mixture/mine": "defaults:\n  - /source@sources.posts: posts\nname: mine\n"}.items():
        path = tmp_path / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    shared = [
        f"hydra.searchpath=[file://{tmp_path}/configs]", "mixture=mine", f"data_root={tmp_path}/raw", f"data_dir={tmp_path}/data",
    ]  # fmt: skip
    launch = ["--standalone", "--nproc-per-node=2"]
    overrides = [
        *shared, "encoder=tiny", "encoder.feed_forward=32", "trainer.max_steps=40", "trainer.learning_rate=1e-3", "trainer.bf16=false",
        "trainer.dropout=0", "trainer.trackers=[]", "trainer.sampling.tokens_per_batch=256", f"runs_dir={tmp_path}/runs",
    ]  # fmt: skip
    check_end(run_stage_process("data_prep", *shared))
    check_end(run_stage_process("train", *overrides, "name=one", "trainer.gradient_accumulation=2"))
    check_end(start_stage_process("torch.distributed.run", *launch, "-m", "train", *overrides, "name=two", cwd=ROOT))
    assert len(list((tmp_path / "runs" / "two").glob("2*"))) == 1, "both processes write into one folder"
    one, two = tmp_path / "runs" / "one" / "latest", tmp_path / "runs" / "two" / "latest"
    assert losses(one) == pytest.approx(losses(two), abs=1e-3)
    assert len(losses(one)) > 2
    assert read_json(one / "run.json")["figures"]["steps"] == read_json(two / "run.json")["figures"]["steps"] == 2 * 40
    assert read_json(one / "policy.json")["heads"].keys() == read_json(two / "policy.json")["heads"].keys()
    for name, value in SHARDS.items():
        monkeypatch.setenv(name, value)
    script = str(ROOT / "tests" / "train" / "fsdp_on_processors.py")
    check_end(start_stage_process("torch.distributed.run", *launch, script, *overrides, "name=shards", cwd=ROOT))
    shards = tmp_path / "runs" / "shards" / "latest"
    assert losses(shards) == pytest.approx(losses(two), abs=1e-5)
    weights, expected = (load_file(run / "model" / "model.safetensors") for run in (shards, two))
    assert weights.keys() == expected.keys()
    for name in (name for name in weights if name.startswith(("roberta.", "classifier."))):  # a projection's axes may point either way
        assert (weights[name] - expected[name]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("given", "overrides", "says"),
    [
        ({"FSDP_VERSION": "1"}, [], "--fsdp_version 2"),
        ({"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, [], "FULL_STATE_DICT"),
        ({}, ["trainer.lora.rank=2"], "full fine-tuning alone"),
        ({}, ["adaptation.epochs=1"], "full fine-tuning alone"),
        ({}, [], None),
    ],
)
def test_what_shards_cannot_be_trained_with_is_refused(
    given: dict[str, str], overrides: list[str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings(tmp_path, *overrides)
    check_train_settings(settings)
    for name, value in {**SHARDS, **given}.items():
        monkeypatch.setenv(name, value)
    if says is None:
        check_train_settings(settings)
    else:
        with pytest.raises(UserError, match=says):
            check_train_settings(settings)
