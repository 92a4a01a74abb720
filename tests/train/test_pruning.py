"""Fewer inner neurons and attention heads: those go that the others can stand for, and the others do."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import nn
from transformers import XLMRobertaModel

from data_prep.command import UserError
from data_prep.files import read_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train import pruning
from train.encoder import Encoder, load_encoder
from train.prediction import predict_logits
from train.pruning import prune, take_over
from train.run import load_run
from train.selection import select_split
from train.settings import EncoderSettings
from train.stage import find_examples, train
from train.tokenised import TokenisedRows

TEXTS = [f"{word} {other} {third}" for word in ("kelmet", "dalmire", "ruvel") for other in "abcdefgh" for third in ("رود", "نهر", "xyz")]
LANGUAGES = ["en" if "xyz" in text else "fa" for text in TEXTS]


def encoder_of(neurons: int) -> Encoder:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": neurons}
    encoder = load_encoder(EncoderSettings(name="random", kind="random", max_length=32, shape=shape))
    for layer in encoder.model.encoder.layer:  # wide enough apart that a GELU bends
        layer.intermediate.dense.weight.data.mul_(30)
        layer.output.dense.weight.data.mul_(30)
    return encoder


def leave(encoder: Encoder, feed_forward: int | None = None, attention_heads: int | None = None) -> None:
    prune(encoder.model, encoder.tokenizer, TEXTS, LANGUAGES, feed_forward, attention_heads)


@torch.inference_mode()
def hidden_states(encoder: Encoder) -> torch.Tensor:
    ids = [row.ids for row in encoder.tokenizer.encode_batch(TEXTS[:9])]
    return torch.cat([encoder.model.eval()(torch.tensor([row])).last_hidden_state[0] for row in ids])


def test_of_neurons_that_do_the_same_one_stays_and_does_the_work_of_both() -> None:
    encoder = encoder_of(24)
    for layer in encoder.model.encoder.layer:
        inner = layer.intermediate.dense
        inner.weight.data[12:], inner.bias.data[12:] = inner.weight.data[:12], inner.bias.data[:12]
    before, first = hidden_states(encoder), encoder.model.encoder.layer[0].intermediate.dense.weight[:12].clone()
    leave(encoder, 12)
    torch.testing.assert_close(hidden_states(encoder), before, atol=0.005, rtol=0.005)
    assert encoder.model.config.intermediate_size == 12
    assert {tuple(row) for row in encoder.model.encoder.layer[0].intermediate.dense.weight.tolist()} == {
        tuple(row) for row in first.tolist()
    }


def test_of_heads_that_look_and_tell_alike_one_stays_and_does_the_work_of_both() -> None:
    encoder = encoder_of(24)
    for layer in encoder.model.encoder.layer:
        own = layer.attention.self
        for part in (own.query, own.key, own.value):
            part.weight.data.mul_(30)  # far enough apart that heads look at different places
            part.weight.data[8:12], part.bias.data[8:12] = part.weight.data[4:8], part.bias.data[4:8]
            part.weight.data[12:], part.bias.data[12:] = part.weight.data[:4], part.bias.data[:4]
    before, values = hidden_states(encoder), encoder.model.encoder.layer[0].attention.self.value.weight[:8].clone()
    leave(encoder, attention_heads=2)
    torch.testing.assert_close(hidden_states(encoder), before, atol=0.005, rtol=0.005)
    first = encoder.model.encoder.layer[0]
    assert {tuple(row) for row in first.attention.self.value.weight.tolist()} == {tuple(row) for row in values.tolist()}
    assert first.attention.output.dense.weight.shape == (16, 8)
    assert first.output.dense.weight.shape == (16, 24), "inner neurons were not asked for"


def test_what_stays_does_more_than_it_did() -> None:
    """Against the same neurons with the weights that they had."""
    whole, pruned = encoder_of(24), encoder_of(24)
    leave(pruned, 12)
    as_they_were = encoder_of(24)
    for old, new in zip(as_they_were.model.encoder.layer, pruned.model.encoder.layer, strict=True):
        kept = [row in new.intermediate.dense.weight.tolist() for row in old.intermediate.dense.weight.tolist()]
        assert sum(kept) == 12
        old.output.dense.weight.data[:, ~torch.tensor(kept)] = 0
    target = hidden_states(whole)
    assert (hidden_states(pruned) - target).norm() < 0.7 * (hidden_states(as_they_were) - target).norm()


def test_the_choice_is_always_the_same() -> None:
    first, second = encoder_of(24), encoder_of(24)
    for encoder in (first, second):
        leave(encoder, 10, 3)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


@pytest.mark.parametrize("together", [1, 2])
@given(seed=st.integers(0, 2**31), correlated=st.floats(0, 0.9))
def test_the_neuron_or_head_that_goes_is_the_one_whose_loss_costs_least(together: int, seed: int, correlated: float) -> None:
    """Against each of five, of one neuron or of two neighbours, left out in turn and the others fitted by numpy's least squares."""
    rng, neurons = np.random.default_rng(seed), 5 * together
    activity = rng.normal(size=(60, neurons)) + correlated * rng.normal(size=(60, 1))
    activity = np.hstack([activity, np.ones((60, 1))])
    weights, importance = rng.normal(size=(neurons + 1, 3)), rng.uniform(0.5, 2, size=3)
    moment = torch.from_numpy(activity.T @ activity / 60)
    kept, fitted = take_over(moment, torch.from_numpy(weights), 4 * together, torch.from_numpy(importance), together)

    def error(columns: list[int], ours: npt.NDArray[np.float64]) -> float:
        return float(np.square((activity[:, [*columns, neurons]] @ ours - activity @ weights) * importance).sum())

    errors = {}
    for gone in range(5):
        stay = [neuron for neuron in range(neurons) if neuron // together != gone]
        errors[tuple(stay)] = error(stay, np.linalg.lstsq(activity[:, [*stay, neurons]], activity @ weights, rcond=None)[0])
    assert tuple(kept.tolist()) in errors
    assert error(kept.tolist(), fitted.numpy()) == pytest.approx(min(errors.values()), rel=1e-3)


def test_every_language_is_heard_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def listening(
        model: XLMRobertaModel, tokenizer: Tokenizer, texts: Sequence[str], readers: Sequence[nn.Linear]
    ) -> dict[nn.Linear, torch.Tensor]:
        read.extend(texts)
        return second_moments(model, tokenizer, texts, readers)

    second_moments = pruning._second_moments
    monkeypatch.setattr(pruning, "_second_moments", listening)
    monkeypatch.setattr(pruning, "_TEXTS", 6)
    encoder = encoder_of(24)
    prune(encoder.model, encoder.tokenizer, [*TEXTS, "kelmet ruvel", "dalmire"], [*["en"] * len(TEXTS), "ps", "ps"], 12)
    assert len(set(read)) == len(read) == 5, "three of six are a language's share, and the smaller one has two"
    assert {"kelmet ruvel", "dalmire"} < set(read)


def test_attention_is_as_it_was_before() -> None:
    encoder = encoder_of(24)
    encoder.model.set_attn_implementation("eager")
    leave(encoder, 12)
    assert encoder.model.config._attn_implementation == "eager"


@pytest.mark.parametrize(("key", "there"), [("feed_forward", 24), ("attention_heads", 2)])
def test_more_than_there_are_is_an_error_before_anything_is_trained(key: str, there: int) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    settings = EncoderSettings(name="random", kind="random", max_length=32, shape=shape)
    load_encoder(replace(settings, **{key: there}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"encoder\.{key}={there + 1} is more than the encoder has: use at most {there}"):
        load_encoder(replace(settings, **{key: there + 1}))  # type: ignore[arg-type]


@pytest.mark.parametrize("override", ["trainer.epochs_after_pruning=2", "trainer.lora.rank=2"])
def test_a_run_of_a_pruned_encoder_is_saved_and_read_as_it_was(tmp_path: Path, override: str) -> None:
    prepare_rows(tmp_path, tiny_rows())
    run = load_run(train(tiny_settings(tmp_path, "encoder.feed_forward=24", "encoder.attention_heads=1", override)))
    assert {tuple(layer.intermediate.dense.weight.shape) for layer in run.model.roberta.encoder.layer} == {(24, 32)}
    assert {tuple(layer.attention.self.query.weight.shape) for layer in run.model.roberta.encoder.layer} == {(16, 32)}
    heads = list(run.model.config.heads)
    rows = TokenisedRows(select_split(find_examples(tiny_settings(tmp_path)), "validation", heads), run.tokenizer, heads)
    assert np.isfinite(predict_logits(run.model, rows)[0]).all()
    assert run.record["settings"]["encoder"]["feed_forward"] == 24


def test_epochs_before_and_after_pruning_are_one_run(tmp_path: Path) -> None:
    """Its log goes on from one training to the next, and so do steps and epochs."""
    prepare_rows(tmp_path, tiny_rows(160))
    settings = tiny_settings(
        tmp_path, "encoder.feed_forward=24", "trainer.epochs=2", "trainer.epochs_after_pruning=2", "trainer.trackers=[tensorboard]"
    )
    run = train(settings)
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [(entry["epoch"], entry["step"]) for entry in log if "eval_loss" in entry]
    steps = read_json(run / "run.json")["figures"]["steps"]
    assert evaluations == [(epoch, epoch * steps // 4) for epoch in (1, 2, 3, 4)]
    assert [entry["step"] for entry in log if "train_runtime" in entry] == [steps // 2, steps]
    assert {path.parent.name for path in (run / "tensorboard").rglob("events*")} == {"tensorboard", "before_pruning"}


def test_what_is_pruned_is_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import train.stage as stage

    seen: list[tuple[int, torch.Tensor]] = []

    def watching(model: XLMRobertaModel, *args: Any) -> None:
        seen.append((model.config.intermediate_size, model.encoder.layer[0].intermediate.dense.weight.detach().clone()))
        prune(model, *args)

    monkeypatch.setattr(stage, "prune", watching)
    prepare_rows(tmp_path, tiny_rows())
    for epochs in (1, 2):
        train(tiny_settings(tmp_path, "encoder.feed_forward=24", f"trainer.epochs={epochs}"))
    (width, once), (same_width, twice) = seen
    assert width == same_width == 64
    assert not torch.equal(once, twice)
