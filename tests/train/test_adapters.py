"""LoRA trains little and leaves an ordinary classifier."""

from pathlib import Path

import pytest
import torch

from data_prep.command import UserError
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.adapters import add_adapters, merge_adapters
from train.encoder import load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.run import load_run
from train.settings import LoraSettings
from train.stage import train


@pytest.fixture
def model(tmp_path: Path) -> MultiHeadClassifier:
    """The tiny encoder: two layers, hidden size 32."""
    torch.manual_seed(0)
    return build_classifier(load_encoder(tiny_settings(tmp_path).encoder), ["a", "b"], "mean", 0.0)


def test_only_adapters_and_heads_learn_and_merging_keeps_the_logits(model: MultiHeadClassifier) -> None:
    plain = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    frozen = {name: parameter.clone() for name, parameter in model.named_parameters() if name.startswith("roberta.")}
    layers, hidden, inner = model.config.num_hidden_layers, model.config.hidden_size, model.config.intermediate_size
    adapted = add_adapters(model, LoraSettings(rank=2, dropout=0.0))
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # rank x (in + out) for query, key, value and the attention's output, and for the two layers of the feed-forward block
    per_layer = 2 * (4 * (hidden + hidden) + 2 * (hidden + inner))
    assert sum(parameter.numel() for parameter in learning) == layers * per_layer + 2 * hidden + 2

    ids = torch.randint(5, 50, (4, 8))
    before = model(ids, torch.ones_like(ids)).logits
    optimiser = torch.optim.SGD(learning, lr=1.0)
    for _ in range(3):
        optimiser.zero_grad()
        model(ids, torch.ones_like(ids)).logits.sum().backward()
        optimiser.step()
    trained = model.eval()(ids, torch.ones_like(ids)).logits
    assert (trained - before).abs().max() > 0.1

    merged = merge_adapters(adapted)
    assert {name: tuple(parameter.shape) for name, parameter in merged.named_parameters()} == plain
    torch.testing.assert_close(merged(ids, torch.ones_like(ids)).logits, trained, atol=1e-4, rtol=1e-4)
    changed = {name for name, parameter in merged.named_parameters() if name in frozen and not torch.equal(parameter, frozen[name])}
    assert changed
    assert all(name.endswith("weight") and ".layer." in name and "LayerNorm" not in name for name in changed)


def test_a_target_that_is_no_layer_is_refused(model: MultiHeadClassifier) -> None:
    with pytest.raises(UserError, match="names no layer of the encoder"):
        add_adapters(model, LoraSettings(rank=2, targets=["q_proj"]))


def test_a_run_with_adapters_is_stored_merged(tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows())
    settings = tiny_settings(tmp_path, "trainer.lora.rank=2", "trainer.max_steps=3")
    run = load_run(train(settings))
    assert not any("lora" in name for name, _ in run.model.named_parameters())
