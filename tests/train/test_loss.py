"""The masked loss: what nobody judged neither counts nor pulls."""

import math

import torch

from train.loss import MASKED, masked_bce


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
