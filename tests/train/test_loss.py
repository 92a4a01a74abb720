"""The masked loss: what nobody judged neither counts nor pulls."""

import math
from typing import Any

import pytest
import torch

from data_prep.command import UserError
from train.loss import MASKED, MaskedLoss, agreement_penalty, masked_bce
from train.settings import LossSettings


def test_it_is_the_mean_over_judged_cells() -> None:
    logits = torch.tensor([[0.0, 5.0], [2.0, -1.0]])
    labels = torch.tensor([[1, MASKED], [0, 1]])
    expected = (math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(1))) / 3
    assert math.isclose(masked_bce(logits, labels).item(), expected, rel_tol=1e-6)


def test_masked_cells_have_no_gradient() -> None:
    logits = torch.tensor([[0.3, -0.7]], requires_grad=True)
    masked_bce(logits, torch.tensor([[1, MASKED]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] != 0
    assert logits.grad[0, 1] == 0


def test_a_batch_without_any_judgement_is_zero_not_nan() -> None:
    logits = torch.tensor([[0.3, -0.7]], requires_grad=True)
    loss = masked_bce(logits, torch.full((1, 2), MASKED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(1, 2))


# --- what the options are for, each on a problem small enough to see it help ---

HEADS = ["a", "b"]


def loss_of(groups: torch.Tensor, positives: torch.Tensor, **settings: Any) -> MaskedLoss:
    return MaskedLoss(LossSettings(**settings), HEADS[: groups.shape[1]], groups, positives)


def fit_line(x: torch.Tensor, labels: torch.Tensor, languages: torch.Tensor, steps: int = 400, **settings: Any) -> torch.Tensor:
    """Logits of a logistic regression trained with the loss that the settings describe."""
    groups = torch.zeros(int(languages.max()) + 1, labels.shape[1])
    groups.index_add_(0, languages, (labels != MASKED).float())
    loss = loss_of(groups, (labels == 1).sum(dim=0).float(), **settings)
    torch.manual_seed(0)
    model = torch.nn.Linear(x.shape[1], labels.shape[1])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(model(x), labels, languages).backward()
        optimiser.step()
    return model(x).detach()


def rare_class() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """1,000 rows, 40 of them positive, on one feature where the classes overlap."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(1000) < 40).long()[:, None]
    x = torch.randn(1000, 1, generator=generator) + 1.5 * labels
    return x, labels, torch.zeros(1000, dtype=torch.long)


def recall(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits > 0)[labels == 1].float().mean())


def test_the_losses_agree_with_the_papers_formulas() -> None:
    logits, labels = torch.tensor([[0.4, -1.2]]), torch.tensor([[1, 0]])
    groups, positives = torch.ones(1, 2), torch.ones(2)
    p, q = 1 / (1 + math.exp(-0.4)), 1 / (1 + math.exp(1.2))
    focal = loss_of(groups, positives, kind="focal", focus=2.0).cell_losses(logits, labels)
    assert focal[0].tolist() == pytest.approx([-((1 - p) ** 2) * math.log(p), -(q**2) * math.log(1 - q)], rel=1e-5)
    asymmetric = loss_of(groups, positives, kind="asymmetric", focus=4.0, positive_focus=1.0, margin=0.05).cell_losses(logits, labels)
    shifted = q - 0.05
    assert asymmetric[0].tolist() == pytest.approx([-(1 - p) * math.log(p), -(shifted**4) * math.log(1 - shifted)], rel=1e-5)
    plain = loss_of(groups, positives).cell_losses(logits, labels)
    assert loss_of(groups, positives, kind="focal", focus=0.0).cell_losses(logits, labels).tolist() == plain.tolist()


@pytest.mark.parametrize("settings", [{"positive_weight": {"a": 8.0}}, {"positive_weight": {"balanced": 30.0}}])
def test_a_weight_on_positives_finds_more_of_a_rare_class(settings: dict[str, Any]) -> None:
    x, labels, languages = rare_class()
    plain = recall(fit_line(x, labels, languages), labels)
    assert recall(fit_line(x, labels, languages, **settings), labels) > plain + 0.3


def test_asymmetric_loss_does_not_let_easy_negatives_decide() -> None:
    x, labels, languages = rare_class()
    asymmetric = fit_line(x, labels, languages, kind="asymmetric", focus=4.0)
    assert recall(asymmetric, labels) > recall(fit_line(x, labels, languages), labels) + 0.3


def test_focal_loss_is_less_sure_of_what_it_memorised() -> None:
    """60 rows with 50 features are memorised: held-out rows then show what the certainty is worth."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1060, 50, generator=generator)
    labels = ((x[:, 0] + torch.randn(1060, generator=generator)) > 0).long()[:, None]
    training = labels.clone()
    training[60:] = MASKED
    languages = torch.zeros(1060, dtype=torch.long)

    def held_out(**settings: Any) -> float:
        return float(masked_bce(fit_line(x, training, languages, **settings)[60:], labels[60:]))

    assert held_out(kind="focal") < 0.8 * held_out()


def test_smoothing_keeps_logits_finite_where_classes_are_separable() -> None:
    x = torch.tensor([[-1.0], [1.0]]).repeat(10, 1)
    labels, languages = (x > 0).long(), torch.zeros(20, dtype=torch.long)
    smooth = fit_line(x, labels, languages, steps=3000, label_smoothing=0.2)
    assert smooth.abs().max().item() == pytest.approx(math.log(0.9 / 0.1), abs=0.05)
    assert fit_line(x, labels, languages, steps=3000).abs().max() > 5


def test_group_dro_lifts_the_worst_group() -> None:
    """Two languages that want opposite slopes, one with nine times the rows: the mean forgets the small one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 1, generator=generator)
    languages = (torch.arange(1000) >= 900).long()
    labels = torch.where(languages == 0, x[:, 0] > 0, x[:, 0] < 0.0).long()[:, None]
    features = torch.cat([x, x * languages[:, None] * 0.2], dim=1)  # the small group's own slope is possible but slow to learn

    def worst(**settings: Any) -> float:
        logits = fit_line(features, labels, languages, **settings)
        correct = ((logits > 0).long() == labels).float()[:, 0]
        return min(float(correct[languages == group].mean()) for group in (0, 1))

    assert worst(dro_step=0.1) > worst() + 0.15


def test_group_dro_weights_move_by_the_formula() -> None:
    loss = loss_of(torch.tensor([[100.0], [25.0]]), torch.tensor([50.0]), dro_step=0.5, dro_adjustment=1.0)
    logits, labels = torch.tensor([[0.0], [0.0], [2.0]]), torch.tensor([[1], [0], [0]])
    value = loss(logits, labels, torch.tensor([0, 0, 1]))
    means = [math.log(2), math.log(1 + math.exp(2))]
    unnormalised = [math.exp(0.5 * (mean + 1 / math.sqrt(size))) for mean, size in zip(means, (100, 25), strict=True)]
    weights = [weight / sum(unnormalised) for weight in unnormalised]
    assert loss.group_weights[:, 0].tolist() == pytest.approx(weights, rel=1e-5)
    assert value.item() == pytest.approx(sum(weight * mean for weight, mean in zip(weights, means, strict=True)), rel=1e-5)
    assert set(loss.state_dict()) == {"group_weights"}, "the weights are what a checkpoint must keep"


def test_a_step_does_not_depend_on_how_its_rows_are_divided() -> None:
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(0, 2, (12, 2), generator=torch.Generator().manual_seed(1))
    labels[0, 1] = labels[7, 0] = MASKED
    languages, loss = torch.zeros(12, dtype=torch.long), loss_of(torch.full((1, 2), 11.0), torch.full((2,), 5.0))
    (whole,) = torch.autograd.grad(loss(logits, labels, languages), logits)
    cells = (labels != MASKED).sum()
    parts = sum(loss(logits[rows], labels[rows], languages[rows], cells) for rows in (slice(0, 2), slice(2, 12)))
    (divided,) = torch.autograd.grad(parts, logits)
    torch.testing.assert_close(whole, divided)


def test_r_drop_penalises_disagreement_only() -> None:
    logits = torch.tensor([[0.5, -1.0]])
    assert agreement_penalty(logits, logits).item() == 0
    p, q = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5))
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))  # symmetric here, by q = 1 - p
    assert agreement_penalty(torch.tensor([[0.5]]), torch.tensor([[-0.5]])).item() == pytest.approx(divergence, rel=1e-5)


def test_unknown_kinds_and_heads_are_told() -> None:
    with pytest.raises(UserError, match=r"loss.kind=hinge is unknown"):
        loss_of(torch.ones(1, 2), torch.ones(2), kind="hinge")
    with pytest.raises(UserError, match="names z, which is no head: use a, b or balanced"):
        loss_of(torch.ones(1, 2), torch.ones(2), positive_weight={"z": 2.0})
