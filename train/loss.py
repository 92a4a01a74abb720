"""The masked multi-label loss: a head nobody judged contributes nothing, not a zero."""

import torch
from torch.nn import functional

from train.model import ClassifierOutput

MASKED = -100  # what transformers.Trainer leaves out when it counts the labels of a step


def masked_bce(logits: torch.Tensor, labels: torch.Tensor, cells: torch.Tensor | int | None = None) -> torch.Tensor:
    """Mean binary cross-entropy over the judged (row, head) cells.

    Parameters
    ----------
    logits, labels
        Shape (batch, heads); a label is 1, 0 or `MASKED`.
    cells
        What the sum is divided by, if not by this batch's judged cells: those of all batches of an optimiser step, on
        all devices, so that a step's gradient does not depend on how its rows were divided.

    Returns
    -------
    A scalar; 0 (with gradient 0) for a batch in which nothing is judged.
    """
    judged = (labels != MASKED).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    count = judged.sum() if cells is None else torch.as_tensor(cells, device=logits.device)
    return (losses * judged).sum() / count.clamp(min=1)


def compute_loss(outputs: ClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """`masked_bce` with the signature that `transformers.Trainer` calls."""
    assert outputs.logits is not None
    return masked_bce(outputs.logits.float(), labels, num_items_in_batch)
