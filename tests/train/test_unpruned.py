"""A pruned model is taught by what it was before: its scores and the outputs of its layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import train.stage as stage
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.distillation import Unpruned, layer_outputs
from train.encoder import load_encoder
from train.loss import unlearnt_share
from train.model import MultiHeadClassifier, build_classifier
from train.prediction import predict_logits
from train.pruning import prune
from train.run import load_run
from train.selection import select_split
from train.settings import EncoderSettings
from train.tokenised import TokenisedRows, collate, text_inputs
from train.trainer import build_trainer

TEXTS = ["kelmet dalmire", "ruvel", "xyz رود نهر", "quorrin"]
SHAPE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}


def test_the_share_by_hand() -> None:
    goal = torch.tensor([[0.0, 0.0], [2.0, 4.0]])  # variances 1 and 4
    state = torch.tensor([[0.0, 0.0], [1.0, 4.0]])  # mean squared errors 0.5 and 0
    assert unlearnt_share([state], [goal]).item() == pytest.approx(0.25)
    assert unlearnt_share([state, goal], [goal, goal]).item() == pytest.approx(0.125)
    mean = goal.mean(dim=0).expand(2, 2)
    assert unlearnt_share([mean], [goal]).item() == pytest.approx(1), "the mean of all explains nothing"


@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-5, 5))
def test_neither_the_size_nor_the_mean_of_a_dimension_counts(seed: int, size: float, mean: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    goal, state = torch.randn(2, 9, 4, generator=draw, dtype=torch.float64)
    scale = torch.tensor([1, size, 1, 1], dtype=torch.float64)
    share = unlearnt_share([state], [goal])
    torch.testing.assert_close(unlearnt_share([state * scale + mean], [goal * scale + mean]), share, rtol=1e-2, atol=0)
    assert unlearnt_share([goal], [goal]) == 0


def test_a_dimension_that_says_nothing_counts_nothing() -> None:
    same = torch.ones(5, 1)
    assert unlearnt_share([same + 1e-6], [same]).item() < 1e-5


@pytest.fixture
def model() -> MultiHeadClassifier:
    torch.manual_seed(0)
    return build_classifier(load_encoder(EncoderSettings(name="tiny", kind="random", max_length=32, shape=SHAPE)), ["a", "b"], "mean", 0.1)


def test_it_answers_as_it_did_whatever_becomes_of_the_model(model: MultiHeadClassifier) -> None:
    tokenizer = load_encoder(EncoderSettings(name="tiny", kind="random", max_length=32, shape=SHAPE)).tokenizer
    items: Any = [{"input_ids": tokenizer.encode(text).ids, "labels": [0, 1], "language": 0} for text in TEXTS]
    texts = text_inputs(collate(items))
    with torch.no_grad(), layer_outputs(model.eval()) as layers:
        logits = model(**texts).logits
    unpruned = Unpruned(model)
    model.train()
    prune(model.roberta, tokenizer, TEXTS, ["en"] * len(TEXTS), 8)
    model.classifier.weight.data.zero_()
    answered, outputs = unpruned.answer(texts)
    torch.testing.assert_close(answered, logits)
    assert len(outputs) == len(layers) == 3
    for output, layer in zip(outputs, layers, strict=True):
        torch.testing.assert_close(output, layer)
    assert not answered.requires_grad


def test_outputs_are_noted_only_within(model: MultiHeadClassifier) -> None:
    ids = torch.tensor([[0, 7, 2]])
    with layer_outputs(model) as outputs:
        model(ids, torch.ones_like(ids))
    model(ids, torch.ones_like(ids))
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 16)] * 3


def test_padding_teaches_nothing(tmp_path: Path) -> None:
    """The loss is that of packed rows, which have none."""
    prepare_rows(tmp_path, tiny_rows())
    settings = tiny_settings(tmp_path, "trainer.dropout=0", "trainer.distillation.layers_weight=3")
    heads = sorted(settings.heads)
    table = select_split(stage.find_examples(settings), "train", heads)
    losses = {}
    for packed in (False, True):
        torch.manual_seed(0)
        encoder = load_encoder(settings.encoder)
        classifier = build_classifier(encoder, heads, "mean", 0.0)
        rows = TokenisedRows(table, encoder.tokenizer, heads)
        unpruned = Unpruned(classifier)
        prune(classifier.roberta, encoder.tokenizer, list(table["text"]), list(table["language"]), 8)
        settings.trainer.packed = packed
        trainer = build_trainer(classifier, rows, list(table["source"]), rows, settings.trainer, tmp_path, unpruned=unpruned)
        batch = collate([rows[index] for index in np.argsort(rows.lengths)[[0, -1, 3]]], packed=packed)
        losses[packed] = trainer.compute_loss(classifier, batch).item()
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)


def test_a_taught_model_stays_nearer_to_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_rows(tmp_path, tiny_rows(320))
    kept: list[Unpruned] = []

    def keep(model: MultiHeadClassifier) -> Unpruned:
        kept.append(Unpruned(model))
        return kept[-1]

    monkeypatch.setattr(stage, "Unpruned", keep)
    settings = tiny_settings(tmp_path, "encoder.feed_forward=16", "trainer.epochs=2", "trainer.epochs_after_pruning=3", "ngram_buckets=0")
    heads = sorted(settings.heads)
    table = select_split(stage.find_examples(settings), "validation", heads)
    distances = {}
    for weight in (0.0, 1.0):
        settings.trainer.distillation.layers_weight = weight
        run = load_run(stage.train(settings))
        assert len(kept) == (1 if weight else 0)
        rows = TokenisedRows(table, run.tokenizer, heads)
        distances[weight] = predict_logits(run.model, rows)[0]
    was, _ = predict_logits(kept[0].model, rows)
    taught, alone = (float(np.square(distances[weight] - was).mean()) for weight in (1.0, 0.0))
    assert taught < 0.7 * alone
