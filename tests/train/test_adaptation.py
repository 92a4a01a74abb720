"""Masked-language modelling on the posts' texts, before fine-tuning."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, ValueSettings
from tests.conftest import jsonl_source, prepare_rows, tiny_rows, tiny_settings
from train.adaptation import MaskedLanguageModel, MaskingCollator, build_adaptation
from train.encoder import EOS, PAD, load_encoder
from train.selection import select_split
from train.stage import Fitted, find_examples, fit, train
from train.tokenised import Item, TokenisedRows


def items(*texts: str, folder: Path) -> list[Item]:
    tokenizer = load_encoder(tiny_settings(folder).encoder).tokenizer
    return [{"input_ids": tokenizer.encode(text).ids, "labels": [-100], "language": 0} for text in texts]


def test_a_share_of_the_pieces_is_asked_for_and_never_padding_or_ends(tmp_path: Path) -> None:
    tokenizer = load_encoder(tiny_settings(tmp_path).encoder).tokenizer
    torch.manual_seed(0)
    rows = items("abcdefgh" * 10, "xyz", folder=tmp_path) * 50
    batch = MaskingCollator(tokenizer, 0.3)(rows)
    plain = torch.full(batch["input_ids"].shape, PAD)
    for row, item in enumerate(rows):
        plain[row, : len(item["input_ids"])] = torch.tensor(item["input_ids"])
    asked = batch["labels"] != -100
    content = plain > EOS
    assert (batch["attention_mask"] == (plain != PAD)).all()
    assert not (asked & ~content).any()
    assert (batch["labels"][asked] == plain[asked]).all()
    assert (batch["input_ids"][~asked] == plain[~asked]).all()
    assert asked[content].float().mean() == pytest.approx(0.3, abs=0.02)
    masked = batch["input_ids"][asked] == tokenizer.token_to_id("<mask>")
    assert masked.float().mean() == pytest.approx(0.8, abs=0.03)


def test_the_loss_is_the_mean_over_the_masked_pieces(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_settings(tmp_path).encoder)
    model = MaskedLanguageModel(encoder.model)
    with torch.no_grad():  # every guess is then the bias alone
        encoder.model.embeddings.word_embeddings.weight.zero_()
        model.bias.zero_()
        model.bias[7] = math.log(9)
    ids = torch.full((2, 4), 5)
    labels = torch.tensor([[-100, 7, -100, -100], [-100, 8, -100, -100]])
    total = len(encoder.pieces) - 1 + 9
    expected = (math.log(total / 9) + math.log(total)) / 2
    assert model(ids, torch.ones_like(ids), labels)["loss"].item() == pytest.approx(expected, rel=1e-5)
    nothing = torch.full_like(labels, -100)
    assert model(ids, torch.ones_like(ids), nothing)["loss"].item() == 0


def test_it_learns_the_words_of_the_texts(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "adaptation.epochs=30", "adaptation.learning_rate=1e-2", "adaptation.masked_share=0.3")
    texts = ["abababababab", "cdcdcdcdcdcd"] * 40  # a masked letter follows from its neighbours
    table = Dataset.from_dict({"text": texts, "language": ["en"] * 80, "propaganda": [None] * 80, "violence_glorification": [None] * 80})
    encoder = load_encoder(settings.encoder)
    rows = TokenisedRows(table, encoder.tokenizer, ["propaganda", "violence_glorification"])
    trainer = build_adaptation(encoder, rows, ["posts"] * 80, settings, tmp_path / "checkpoints")
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < math.log(2) < losses[0]  # the letter's frequency alone would leave the entropy of four letters


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_that_is_none_is_refused(share: float, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "adaptation.epochs=1", f"adaptation.masked_share={share}")
    with pytest.raises(UserError, match="masked_share"):
        build_adaptation(load_encoder(settings.encoder), None, [], settings, tmp_path)  # type: ignore[arg-type]


def fitted(folder: Path, checkpoints: Path) -> Fitted:
    settings = tiny_settings(folder, "adaptation.epochs=1", "trainer.max_steps=4")
    table = find_examples(settings)
    parts = [select_split(table, split, sorted(settings.heads)) for split in ("train", "validation")]
    return fit(settings, parts[0], parts[1], checkpoints, table)


def test_a_resumed_run_takes_the_weights_it_had_adapted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_rows(tmp_path, tiny_rows())
    run = tmp_path / "run"
    once = fitted(tmp_path, run)
    assert "adapted the encoder to" in capsys.readouterr().out
    kept = load_file(run / "checkpoints" / "adapted.safetensors")
    assert any(not np.array_equal(kept[name], tensor) for name, tensor in once.model.roberta.state_dict().items())
    for checkpoint in (run / "checkpoints").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)  # as if killed before the first one
    again = fitted(tmp_path, run)
    assert "adapted" not in capsys.readouterr().out
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, once.model.state_dict()[name]), name


def test_a_source_without_labels_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_rows(tmp_path, tiny_rows())
    settings = tiny_settings(tmp_path, "adaptation.epochs=1", "trainer.max_steps=4")
    more = [{"text": f"{word} by the river in {1900 + year}", "lang": "en"} for year, word in enumerate(["boats", "stones", "herons"])]
    (tmp_path / "raw" / "river.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more), encoding="utf-8")
    settings.mixture.sources["river"] = jsonl_source("river", labels={}, sense={}, split=ValueSettings(), family=None)
    prepare(DataPrepSettings(settings.mixture, settings.heads, str(tmp_path / "raw"), settings.data_dir))
    labelled = read_json(train(settings) / "run.json")["figures"]["train_rows"]
    assert f"adapted the encoder to {labelled + 3} texts" in capsys.readouterr().out
