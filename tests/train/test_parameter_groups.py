"""Every trainable parameter learns once, at its layer's rate."""

from pathlib import Path

import pytest
import torch

from tests.conftest import tiny_settings
from train.encoder import load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.parameter_groups import freeze, parameter_groups
from train.settings import TrainerSettings


@pytest.fixture
def model(tmp_path: Path) -> MultiHeadClassifier:
    """The tiny encoder: two layers."""
    return build_classifier(load_encoder(tiny_settings(tmp_path).encoder), ["a", "b"], "mean", 0.1)


def rates(model: MultiHeadClassifier, settings: TrainerSettings) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in parameter_groups(model, settings):
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found, "a parameter in two groups learns twice"
            found[name] = (group["lr"], group["weight_decay"])
    return found


def test_rates_fall_from_the_heads_to_the_embeddings(model: MultiHeadClassifier) -> None:
    found = rates(model, TrainerSettings(learning_rate=0.1, head_learning_rate=1.0, layer_decay=0.5, weight_decay=0.01))
    assert found.keys() == dict(model.named_parameters()).keys()
    assert found["classifier.weight"] == (1.0, 0.0)
    assert found["roberta.encoder.layer.1.output.dense.weight"] == (0.1, 0.01)
    assert found["roberta.encoder.layer.1.output.dense.bias"] == (0.1, 0.0)
    assert found["roberta.encoder.layer.1.output.LayerNorm.weight"] == (0.1, 0.0)
    assert found["roberta.encoder.layer.0.attention.self.query.weight"] == (0.05, 0.01)
    assert found["roberta.embeddings.word_embeddings.weight"] == (0.025, 0.01)


@pytest.mark.parametrize(
    ("settings", "first"), [({"freeze_embeddings": True}, "encoder.layer.0"), ({"freeze_layers": 1}, "encoder.layer.1")]
)
def test_frozen_parts_are_not_in_the_groups_and_keep_their_weights(
    model: MultiHeadClassifier, settings: dict[str, int], first: str
) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    freeze(model, TrainerSettings(**settings))
    optimiser = torch.optim.AdamW(parameter_groups(model, TrainerSettings(learning_rate=0.1)))
    ids = torch.randint(5, 50, (4, 8))
    model(ids, torch.ones_like(ids)).logits.sum().backward()
    optimiser.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert not any("embeddings" in name for name in moved)
    assert min(name for name in moved if "layer" in name).startswith(f"roberta.{first}")
