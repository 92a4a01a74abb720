"""The masked loss: what nobody judged neither counts nor pulls."""

import math
from typing import Any

import pytest
import torch

from data_prep.command import UserError
from train.labels import MASKED
from train.loss import MaskedLoss, agreement_penalty, masked_bce
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
    return MaskedLoss(LossSettings(**settings), HEADS[: groups.shape[1]], groups, groups, positives)


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
    smooth = loss_of(groups, positives, label_smoothing=0.2).cell_losses(logits, labels)  # targets 0.9 and 0.1
    assert smooth[0].tolist() == pytest.approx(
        [-0.9 * math.log(p) - 0.1 * math.log(1 - p), -0.1 * math.log(q) - 0.9 * math.log(1 - q)], rel=1e-5
    )
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


def test_balanced_weights_are_the_odds_of_what_is_drawn_up_to_a_limit() -> None:
    """10,000 negatives of which an epoch draws 400: the weight makes up for 400. A named head keeps its own."""
    sizes, drawn, positives = torch.tensor([[10_020.0, 1000.0]]), torch.tensor([[420.0, 1000.0]]), torch.tensor([20.0, 10.0])

    def weights(positive_weight: dict[str, float]) -> list[float]:
        return MaskedLoss(LossSettings(positive_weight=positive_weight), HEADS, sizes, drawn, positives).positive_weight.tolist()

    assert weights({"balanced": 30.0}) == [20.0, 30.0]
    assert weights({"balanced": 30.0, "b": 2.0}) == [20.0, 2.0]
    assert weights({"b": 2.0}) == [1.0, 2.0]


def test_without_margin_and_focus_asymmetric_loss_is_cross_entropy_for_the_most_wrong_too() -> None:
    logits = torch.tensor([[-40.0, 40.0], [0.3, 40.0]], requires_grad=True)
    labels, groups = torch.tensor([[1, 0], [0, 1]]), torch.ones(1, 2)
    losses = loss_of(groups, torch.ones(2), kind="asymmetric", focus=0.0, margin=0.0).cell_losses(logits, labels)
    torch.testing.assert_close(losses, loss_of(groups, torch.ones(2)).cell_losses(logits, labels))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient[0].tolist() == pytest.approx([-1, 1])


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
    """The batch has the shares of the groups, two rows of one and one of the other, so the estimates are the groups' means."""
    sizes, drawn = torch.tensor([[100.0], [25.0]]), torch.tensor([[50.0], [25.0]])
    loss = MaskedLoss(LossSettings(dro_step=0.5, dro_adjustment=1.0), ["a"], sizes, drawn, torch.tensor([50.0]))
    logits, labels = torch.tensor([[0.0], [0.0], [2.0]]), torch.tensor([[1], [0], [0]])
    value = loss(logits, labels, torch.tensor([0, 0, 1]))
    means = [math.log(2), math.log(1 + math.exp(2))]
    unnormalised = [math.exp(0.5 * (mean + 1 / math.sqrt(size))) for mean, size in zip(means, (100, 25), strict=True)]
    weights = [weight / sum(unnormalised) for weight in unnormalised]
    assert loss.group_weights[:, 0].tolist() == pytest.approx(weights, rel=1e-5)
    assert value.item() == pytest.approx(sum(weight * mean for weight, mean in zip(weights, means, strict=True)), rel=1e-5)
    assert set(loss.state_dict()) == {"group_scores"}, "they are what a checkpoint must keep"
    other = MaskedLoss(LossSettings(dro_step=0.5, dro_adjustment=1.0), ["a"], sizes, drawn, torch.tensor([50.0]))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.group_weights, loss.group_weights)


def test_group_dro_weighs_a_rare_group_by_its_loss_and_not_by_how_often_it_is_seen() -> None:
    """Two languages of 2,000 rows with a fifth of their labels wrong, and a third of 140 rows that wants the opposite slope.

    Three batches of eight in four have no row of the third: weights moved by what a batch shows would forget it.
    """
    generator = torch.Generator().manual_seed(0)
    languages = torch.repeat_interleave(torch.arange(3), torch.tensor([2000, 2000, 140]))
    x = torch.randn(len(languages), 1, generator=generator)
    wrong = (torch.rand(len(languages), generator=generator) < 0.2) & (languages < 2)
    labels = ((x[:, 0] > 0) != ((languages == 2) | wrong)).long()[:, None]
    features = torch.cat([x, x * (languages == 2)[:, None]], dim=1)
    sizes = torch.bincount(languages).float()[:, None]

    def accuracies(**settings: Any) -> list[float]:
        loss = loss_of(sizes, labels.sum(dim=0).float(), **settings)
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.02)
        for _ in range(1000):
            rows = torch.randint(0, len(x), (8,), generator=generator)
            optimiser.zero_grad()
            loss(model(features[rows]), labels[rows], languages[rows]).backward()
            optimiser.step()
        correct = ((model(features) > 0).long() == labels).float()[:, 0]
        return [float(correct[languages == language].mean()) for language in range(3)]

    assert accuracies()[2] < 0.3
    robust = accuracies(dro_step=0.02, dro_adjustment=0.0)
    assert robust[2] > 0.9
    assert min(robust[:2]) > 0.75, "of 0.8 that can be had: the others pay little"


def test_a_rare_group_counts_at_most_as_if_it_had_a_tenth_of_an_equal_share() -> None:
    loss = loss_of(torch.tensor([[9990.0], [10.0], [0.0]]), torch.tensor([5.0]), dro_step=0.1)
    assert loss.importance[:2, 0].tolist() == pytest.approx([10_000 / 9990, 20])
    assert loss.group_weights[:, 0].tolist() == [0.5, 0.5, 0], "no weight waits for a group without rows"


@pytest.mark.parametrize("dro_step", [0.0, 1e-9])
def test_a_step_does_not_depend_on_how_its_rows_are_divided(dro_step: float) -> None:
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(0, 2, (12, 2), generator=torch.Generator().manual_seed(1))
    labels[0, 1] = labels[7, 0] = MASKED
    languages = torch.arange(12) % 3
    loss = loss_of(torch.tensor([[8.0, 9.0], [2.0, 5.0], [4.0, 4.0]]), torch.full((2,), 5.0), dro_step=dro_step)
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
