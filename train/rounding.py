"""Weights that 8 bits hold: a finished model's matrices are rounded once, before its policy is fitted.

An int8 graph then computes with the very weights of the float32 one, and only its rounded activations can tell them apart.
Rounding later, at export, would move logits that thresholds were already fitted to.

Processors that have AVX2 or AVX-512 but no VNNI add two products of an unsigned and a signed byte in 16 bits and cut off what does
not fit, without a word: scores that were right where the export ran would be wrong elsewhere. So no two weights that can meet in such
a sum may be larger together than `STEPS`: 255 * 126 fits. Fewer bits for all weights would do too, at twice the error.
"""

import torch
from torch import nn

from train.model import MultiHeadClassifier

STEPS = 126  # that two weights of one sign may have together; even, so that halves of it are whole
_TOGETHER = 4  # consecutive inputs that the kernels keep side by side


def int8_channels(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix (outputs, inputs) as int8 and a float32 scale per output, shape (outputs, 1); a row of zeros has the scale 1.

    Of four consecutive inputs' weights, any two of one sign have at most 126 steps together, and, where they fall on halves, 127.

    >>> whole, scale = int8_channels(torch.tensor([[1.26, -0.5, 0.0, -0.1], [0.8, 0.4, 0.06, -0.9], [0.0, 0.0, 0.0, 0.0]]))
    >>> whole.tolist(), [round(value, 6) for value in scale[:2, 0].tolist()]
    ([[126, -50, 0, -10], [84, 42, 6, -94], [0, 0, 0, 0]], [0.01, 0.009524])
    """
    side_by_side = nn.functional.pad(weight, (0, -weight.shape[1] % _TOGETHER)).reshape(len(weight), -1, _TOGETHER)
    of_one_sign = torch.stack([side_by_side, -side_by_side]).clamp(min=0)
    largest = of_one_sign.topk(2, dim=-1).values.sum(dim=-1).amax(dim=(0, 2)).unsqueeze(1)
    scale = torch.where(largest == 0, 1, largest / STEPS)
    return torch.round(weight / scale).to(torch.int8), scale


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """A matrix (outputs, inputs) whose weights `int8_channels` holds exactly; rounding it again changes nothing.

    The first rounding may leave a largest pair of 125 or 127 steps, where it fell on two halves. Odd sums cannot, so the second
    leaves 126, and with them the scale as it is.
    """
    for _ in range(2):
        whole, scale = int8_channels(weight)
        weight = whole * scale
    return weight


@torch.no_grad()
def round_weights(model: MultiHeadClassifier) -> None:
    """Round the encoder's matrices to what `int8_channels` can hold, in place; embeddings, norms, biases and heads stay."""
    for layer in model.roberta.encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(rounded(layer.weight.float()))
