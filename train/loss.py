"""The masked multi-label losses: a head nobody judged contributes nothing, not a zero.

All are sums over the judged (row, head) cells divided by the number of cells of the whole optimiser step, so that a step's
gradient does not depend on how its rows were divided into batches and over processes.
"""

from collections.abc import Sequence

import torch
import torch.distributed
from torch import nn
from torch.nn import functional

from data_prep.command import UserError
from train.settings import LossSettings

MASKED = -100  # what transformers.Trainer leaves out when it counts the labels of a step


def masked_bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the judged cells: what validation measures, whatever training minimises.

    Parameters
    ----------
    logits, labels
        Shape (batch, heads); a label is 1, 0 or `MASKED`.

    Returns
    -------
    A scalar; 0 (with gradient 0) for a batch in which nothing is judged.
    """
    judged = labels != MASKED
    losses = functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    return (losses * judged).sum() / judged.sum().clamp(min=1)


class MaskedLoss(nn.Module):
    """The training loss that the settings describe; group DRO's weights are its only state, and belong into a checkpoint.

    Parameters
    ----------
    heads
        Their names, in the order of the logits' columns.
    group_sizes
        Training cells per language and head, shape (languages, heads): group DRO's adjustment rests on them.
    positives
        Training cells labelled 1, shape (heads,), for `positive_weight: balanced`.

    Raises
    ------
    UserError
        If the kind is unknown or a head of `positive_weight` does not exist.
    """

    positive_weight: torch.Tensor
    group_sizes: torch.Tensor
    group_weights: torch.Tensor

    def __init__(self, settings: LossSettings, heads: Sequence[str], group_sizes: torch.Tensor, positives: torch.Tensor) -> None:
        super().__init__()
        if settings.kind not in ("bce", "focal", "asymmetric"):
            raise UserError(f"loss.kind={settings.kind} is unknown: use bce, focal or asymmetric")
        if unknown := set(settings.positive_weight) - {*heads, "balanced"}:
            raise UserError(f"loss.positive_weight names {sorted(unknown)[0]}, which is no head: use {', '.join(heads)} or balanced")
        self.settings = settings
        weights = torch.tensor([settings.positive_weight.get(head, 1.0) for head in heads])
        if "balanced" in settings.positive_weight:
            negatives = group_sizes.sum(dim=0) - positives
            weights = (negatives / positives.clamp(min=1)).clamp(1, settings.positive_weight["balanced"])
        self.register_buffer("positive_weight", weights, persistent=False)
        self.register_buffer("group_sizes", group_sizes.float(), persistent=False)
        if settings.dro_step > 0:
            present = (group_sizes > 0).float()
            self.register_buffer("group_weights", present / present.sum().clamp(min=1))

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, languages: torch.Tensor, cells: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of a batch.

        Parameters
        ----------
        logits, labels
            Shape (batch, heads); a label is 1, 0 or `MASKED`.
        languages
            Shape (batch,), the row's language as an index into `group_sizes`.
        cells
            The judged cells of the whole optimiser step; None: of this batch.
        """
        judged = (labels != MASKED).to(logits.dtype)
        losses = self.cell_losses(logits, labels) * judged
        if self.settings.dro_step > 0:
            return self._robust(losses, judged, languages)
        count = judged.sum() if cells is None else torch.as_tensor(cells, device=logits.device)
        return losses.sum() / count.clamp(min=1)

    def cell_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of every cell, shape (batch, heads); masked cells hold a number that means nothing.

        *focal*: Lin et al. 2017, (1 - p_t)^gamma times the cross-entropy. *asymmetric*: Ridnik et al. 2021, with a focus of
        its own for positives and negatives, and negatives below a probability of `margin` left out.
        """
        settings = self.settings
        truth = labels.clamp(min=0).to(logits.dtype)
        target = truth * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        weight = 1 + truth * (self.positive_weight - 1)
        if settings.kind == "bce":
            return weight * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        probability = torch.sigmoid(logits)
        if settings.kind == "focal":
            p_true = torch.where(truth > 0, probability, 1 - probability)
            entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
            return weight * (1 - p_true) ** settings.focus * entropy
        shifted = (probability - settings.margin).clamp(min=0)
        positive = target * (1 - probability) ** settings.positive_focus * functional.logsigmoid(logits)
        negative = (1 - target) * shifted**settings.focus * torch.log1p(-shifted.clamp(max=1 - 1e-6))
        return -weight * (positive + negative)

    def _robust(self, losses: torch.Tensor, judged: torch.Tensor, languages: torch.Tensor) -> torch.Tensor:
        """Group DRO, Sagawa et al. 2020, algorithm 1 with adjustment C / sqrt(n): groups are languages x heads.

        The weights move towards the groups with the highest loss; every process moves them by the losses of all.
        """
        groups = torch.zeros(2, *self.group_sizes.shape, dtype=losses.dtype, device=losses.device)
        groups = groups.index_add(1, languages, torch.stack([losses, judged]))
        seen = groups.detach().clone()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(seen)
        mean = groups[0] / seen[1].clamp(min=1)  # over all processes: Trainer scales by their number and averages
        with torch.no_grad():
            adjusted = seen[0] / seen[1].clamp(min=1) + self.settings.dro_adjustment / self.group_sizes.clamp(min=1).sqrt()
            step = torch.where(seen[1] > 0, self.settings.dro_step * adjusted, torch.zeros_like(adjusted))
            weights = self.group_weights * torch.exp(step)
            self.group_weights.copy_(weights / weights.sum())
        return (self.group_weights * mean).sum()


def agreement_penalty(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """R-Drop (Wu et al. 2021): the symmetric Kullback-Leibler divergence of two dropout passes' probabilities.

    Parameters
    ----------
    one, other
        Logits, shape (batch, heads); every head counts, judged or not.

    Returns
    -------
    A scalar, the mean over cells; 0 if both are the same.
    """
    p, q = torch.sigmoid(one), torch.sigmoid(other)
    return ((p - q) * (one - other)).mean() / 2
