"""Which parameters learn, and how fast: the heads faster than the encoder, lower layers slower than higher ones."""

from collections import defaultdict
from typing import Any

from torch import nn

from train.model import MultiHeadClassifier
from train.settings import TrainerSettings


def parameter_groups(model: MultiHeadClassifier, settings: TrainerSettings) -> list[dict[str, Any]]:
    """Groups for the optimiser, each trainable parameter in one of them.

    The heads have a rate of their own, because they start from random weights. With L layers, layer i (from 1) learns at
    learning_rate x layer_decay^(L - i) and the embeddings at learning_rate x layer_decay^L (Sun et al. 2019). Biases and layer
    normalisation have no weight decay, nor have the heads.
    """
    layers = model.config.num_hidden_layers
    members: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if not name.startswith("roberta."):
            members[settings.head_learning_rate, 0.0].append(parameter)
            continue
        depth = int(name.split(".layer.")[1].split(".")[0]) + 1 if ".layer." in name else 0
        decay = 0.0 if name.endswith(".bias") or "LayerNorm" in name else settings.weight_decay
        members[settings.learning_rate * settings.layer_decay ** (layers - depth), decay].append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in members.items()]


def freeze(model: MultiHeadClassifier, settings: TrainerSettings) -> None:
    """Stop the embeddings, and the lowest layers, from learning, as far as the settings say."""
    if settings.freeze_embeddings or settings.freeze_layers:
        model.roberta.embeddings.requires_grad_(False)
    for layer in model.roberta.encoder.layer[: settings.freeze_layers]:
        layer.requires_grad_(False)
