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
from train.labels import MASKED
from train.settings import LossSettings

_SMALLEST_VARIANCE = 1e-6  # of a dimension that says nothing, or rounding would count as much as all else
RAREST = 10  # group DRO: a group rarer than a tenth of an equal share counts as if it had that tenth, or single rows would rule


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
    """The training loss that the settings describe; group DRO's scores are its only state, and belong into a checkpoint.

    Parameters
    ----------
    heads
        Their names, in the order of the logits' columns.
    group_sizes
        Training cells per language and head, shape (languages, heads): group DRO's adjustment rests on them.
    drawn
        The same as the sampler draws them in an epoch, shape (languages, heads).
    drawn_positives
        Cells labelled 1 that it draws, shape (heads,), for `positive_weight: balanced`.

    Raises
    ------
    UserError
        If the kind is unknown or a head of `positive_weight` does not exist.
    """

    positive_weight: torch.Tensor
    margin: torch.Tensor
    adjustment: torch.Tensor
    importance: torch.Tensor
    group_scores: torch.Tensor

    def __init__(
        self,
        settings: LossSettings,
        heads: Sequence[str],
        group_sizes: torch.Tensor,
        drawn: torch.Tensor,
        drawn_positives: torch.Tensor,
    ) -> None:
        super().__init__()
        if settings.kind not in ("bce", "focal", "asymmetric"):
            raise UserError(f"loss.kind={settings.kind} is unknown: use bce, focal or asymmetric")
        if unknown := set(settings.positive_weight) - {*heads, "balanced"}:
            raise UserError(f"loss.positive_weight names {sorted(unknown)[0]}, which is no head: use {', '.join(heads)} or balanced")
        self.settings = settings
        odds = (drawn.sum(dim=0) - drawn_positives) / drawn_positives.clamp(min=1)
        balanced = odds.clamp(1, max(1.0, settings.positive_weight.get("balanced", 1.0))).tolist()
        weights = [settings.positive_weight.get(head, default) for head, default in zip(heads, balanced, strict=True)]
        self.register_buffer("positive_weight", torch.tensor(weights), persistent=False)
        self.register_buffer("margin", torch.tensor(settings.margin), persistent=False)
        if settings.dro_step > 0:
            present = group_sizes > 0
            importance = (drawn.sum() / drawn.clamp(min=1)).clamp(max=RAREST * float(present.sum()))
            self.register_buffer("importance", importance, persistent=False)
            self.register_buffer("adjustment", settings.dro_adjustment / group_sizes.clamp(min=1).float().sqrt(), persistent=False)
            self.register_buffer("group_scores", torch.zeros(group_sizes.shape).masked_fill(~present, float("-inf")))

    @property
    def group_weights(self) -> torch.Tensor:
        """Group DRO's distribution over groups, shape (languages, heads): the softmax of the scores, which cannot underflow."""
        return self.group_scores.flatten().softmax(dim=0).view_as(self.group_scores)

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, languages: torch.Tensor, cells: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of a batch.

        Parameters
        ----------
        logits, labels
            Shape (batch, heads); a label is 1, 0 or `MASKED`.
        languages
            Shape (batch,), the row's language as an index into the groups.
        cells
            The judged cells of the whole optimiser step; None: of this batch.
        """
        judged = (labels != MASKED).to(logits.dtype)
        losses = self.cell_losses(logits, labels) * judged
        count = (judged.sum() if cells is None else torch.as_tensor(cells, device=logits.device)).clamp(min=1)
        if self.settings.dro_step > 0:
            return self._robust(losses, judged, languages, count)
        return losses.sum() / count

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
        shifted = (probability - self.margin).clamp(min=0)
        positive = target * (1 - probability) ** settings.positive_focus * functional.logsigmoid(logits)
        # log(1 - shifted) from the logit: without a margin 1 - probability rounds to 0, and the most wrong would not learn
        negative = (1 - target) * shifted**settings.focus * torch.logaddexp(functional.logsigmoid(-logits), self.margin.log()).clamp(max=0)
        return -weight * (positive + negative)

    def _robust(self, losses: torch.Tensor, judged: torch.Tensor, languages: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Group DRO, Sagawa et al. 2020, algorithm 1 with adjustment C / sqrt(n): groups are languages x heads.

        The algorithm draws groups equally often. Here they come as often as the sampler draws their rows, so a group's losses
        are divided by its share of the drawn cells: without that a rare group moves its weight, and pulls the model, only in
        the few batches where it is seen, and the frequent groups win whatever their loss. The scores move towards the groups
        with the highest loss, before the step they weigh; every process moves them by the losses of all.
        """
        seen = torch.zeros(2, *self.importance.shape, dtype=losses.dtype, device=losses.device)
        seen = seen.index_add(1, languages, torch.stack([losses, judged])) * self.importance / cells
        with torch.no_grad():
            moved = seen[0] + seen[1] * self.adjustment
            if torch.distributed.is_initialized():
                torch.distributed.all_reduce(moved)
            self.group_scores += self.settings.dro_step * moved
            self.group_scores -= self.group_scores.max()  # the same weights, and sums that stay small stay exact
        return (self.group_weights * seen[0]).sum()


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


def unlearnt_share(states: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    """How much of what a teacher's layers say its pupil's do not: the share of variance left unexplained, mean over layers and dimensions.

    Of the variance, because an encoder's dimensions differ in size by orders of magnitude: each then counts the same.

    Parameters
    ----------
    states, taught
        One tensor a layer, shape (tokens, hidden), without padding.

    Returns
    -------
    A scalar; 0 if all are the same, about 2 if they have nothing to do with each other.
    """
    shares = [
        (state - goal).square().mean(dim=0) / goal.var(dim=0, correction=0).clamp(min=_SMALLEST_VARIANCE)
        for state, goal in zip(states, taught, strict=True)
    ]
    return torch.stack(shares).mean()


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Hinton et al. 2015 for independent heads: T^2 times the cross-entropy of the softened probabilities.

    Parameters
    ----------
    logits, teacher
        Shape (batch, heads); every cell counts, judged or not.

    Returns
    -------
    A scalar, the mean over cells. T^2 keeps the gradient's size the same at every temperature.
    """
    softened = torch.sigmoid(teacher / temperature)
    return temperature**2 * functional.binary_cross_entropy_with_logits(logits / temperature, softened)
