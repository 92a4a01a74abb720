"""The run folder: everything export needs, complete or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.settings import HeadSettings
from data_prep.table import load_examples
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train import stage
from train.policy import Policy, fit_policy
from train.prediction import predict_logits
from train.run import load_run, point_latest
from train.selection import select_split
from train.stage import find_examples
from train.tokenised import TokenisedRows


def test_a_run_says_how_it_came_about(tiny_workspace: Path) -> None:
    folder = tiny_workspace / "runs" / "tiny" / "latest"
    files = {"begun.json", "metrics.jsonl", "model", "policy.json", "policy.png", "report.png", "run.json", "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == files
    record = read_json(folder / "run.json")
    assert record["data_manifest"] == read_json(tiny_workspace / "data" / "mine" / "manifest.json")
    assert record["settings"]["trainer"]["epochs"] == 12
    assert record["figures"]["train_rows"] > 0
    assert {"torch", "transformers"} <= record["versions"].keys()
    assert [path.name for path in (folder / "model").glob("*.safetensors")] == ["model.safetensors"]


def test_what_is_fitted_after_training_is_fitted_to_the_model_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in bfloat16 leaves nothing of it behind."""
    prepare_rows(tmp_path, tiny_rows())
    fitted: list[npt.NDArray[np.float32]] = []

    def noting(logits: npt.NDArray[np.float32], *args: Any) -> Policy:
        fitted.append(logits.copy())
        return fit_policy(logits, *args)

    monkeypatch.setattr(stage, "fit_policy", noting)
    run = load_run(stage.train(tiny_settings(tmp_path, "trainer.bf16=true", "ngram_buckets=0")))
    heads = list(run.model.config.heads)
    rows = TokenisedRows(select_split(load_examples(tmp_path / "data" / "mine"), "validation", heads), run.tokenizer, heads)
    np.testing.assert_allclose(predict_logits(run.model, rows)[0], fitted[0], atol=1e-5)


def test_the_tiny_model_learns_and_batching_changes_nothing(tiny_workspace: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    table = select_split(load_examples(tiny_workspace / "data" / "mine"), "train", run.model.config.heads)
    rows = TokenisedRows(table, run.tokenizer, run.model.config.heads)
    logits, embeddings = predict_logits(run.model, rows)
    one_by_one, _ = predict_logits(run.model, rows, tokens_per_batch=1)
    np.testing.assert_allclose(logits, one_by_one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    judged = rows.labels >= 0
    correct = ((logits > 0) == (rows.labels == 1))[judged].mean()
    assert correct > 0.9


def test_padding_only_rows_give_finite_output(tiny_workspace: Path) -> None:
    model = load_run(tiny_workspace / "runs" / "tiny" / "latest").model
    with torch.inference_mode():
        output = model(torch.ones(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long))
    assert torch.isfinite(output.logits).all()
    assert torch.isfinite(output.sentence_embedding).all()


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        load_run(tmp_path / "none")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="did not finish"):
        load_run(tmp_path / "run")


def test_latest_moves_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name)
    assert (tmp_path / "latest").resolve() == tmp_path / "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_a_head_that_the_table_lacks_is_named(tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows(40))
    settings = tiny_settings(tmp_path)
    settings.heads["recruitment"] = HeadSettings("does it recruit?")
    with pytest.raises(UserError, match=r"data/mine was prepared without the head recruitment: prepare it again with the same head@heads="):
        find_examples(settings)
