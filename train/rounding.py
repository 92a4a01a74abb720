"""Weights that 8 bits hold: a finished model's matrices are rounded once, before its policy is fitted.

An int8 graph then computes with the very weights of the float32 one, and only its rounded activations can tell them apart.
Rounding later, at export, would move logits that thresholds were already fitted to.
"""

import torch
from torch import nn

from train.model import MultiHeadClassifier

STEPS = 127  # of int8 on either side of zero


def int8_channels(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix (outputs, inputs) as int8 and a float32 scale per output, shape (outputs, 1); a row of zeros has the scale 1.

    >>> whole, scale = int8_channels(torch.tensor([[1.27, -0.5], [0.0, 0.0]]))
    >>> whole.tolist(), round(scale[0].item(), 6)
    ([[127, -50], [0, 0]], 0.01)
    """
    largest = weight.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest == 0, 1, largest / STEPS)
    return torch.round(weight / scale).to(torch.int8), scale


@torch.no_grad()
def round_weights(model: MultiHeadClassifier) -> None:
    """Round the encoder's matrices to what `int8_channels` can hold, in place; embeddings, norms, biases and heads stay."""
    for layer in model.roberta.encoder.modules():
        if isinstance(layer, nn.Linear):
            whole, scale = int8_channels(layer.weight.float())
            layer.weight.copy_(whole * scale)
