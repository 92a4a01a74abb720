"""R-Drop: a step's loss counts how far two dropout passes disagree, and a model learns to agree with itself."""

from pathlib import Path

import pytest
import torch
from torch import nn

from data_prep.table import load_examples
from tests.conftest import tiny_settings
from train.labels import MASKED
from train.loss import agreement_penalty, masked_bce
from train.run import load_run
from train.selection import select_split
from train.tokenised import TokenisedRows, collate, text_inputs
from train.trainer import build_trainer


def test_a_step_adds_the_disagreement_of_its_two_passes(tiny_workspace: Path, tmp_path: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    run.model.dropout.p = 0.5
    heads = list(run.model.config.heads)
    table = select_split(load_examples(tiny_workspace / "data" / "mine"), "train", heads)
    rows = TokenisedRows(table, run.tokenizer, heads)
    settings = tiny_settings(tiny_workspace).trainer
    settings.loss.r_drop = 3.0
    trainer = build_trainer(run.model, rows, list(table["source"]), rows, settings, tmp_path)
    batch = collate([rows[index] for index in range(16)])
    model = run.model.train()
    torch.manual_seed(1)
    loss = trainer.compute_loss(model, batch).item()
    torch.manual_seed(1)
    one, other = (model(**text_inputs(batch)).logits for _ in range(2))
    disagreement = agreement_penalty(one, other).item()
    assert disagreement > 0
    assert (batch["labels"] == MASKED).any()
    by_hand = (masked_bce(one, batch["labels"]) + masked_bce(other, batch["labels"])).item() / 2 + 3 * disagreement
    assert loss == pytest.approx(by_hand, rel=1e-5)


def held_out_disagreement_and_loss(r_drop: float) -> tuple[float, float]:
    """Of a network with strong dropout after training on 200 rows, in which one of 40 columns tells the label."""
    torch.manual_seed(0)
    inputs = torch.randn(2200, 40)
    labels = (inputs[:, :1] > 0).long()
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        one, other = model(inputs[:200]), model(inputs[:200])
        loss = (masked_bce(one, labels[:200]) + masked_bce(other, labels[:200])) / 2 + r_drop * agreement_penalty(one, other)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        disagreement = agreement_penalty(model(inputs[200:]), model(inputs[200:])).item()
        return disagreement, masked_bce(model.eval()(inputs[200:]), labels[200:]).item()


def test_it_makes_a_network_agree_with_itself_and_judge_new_rows_better() -> None:
    plain, plain_loss = held_out_disagreement_and_loss(0.0)
    penalised, penalised_loss = held_out_disagreement_and_loss(10.0)
    assert penalised < 0.5 * plain
    assert penalised_loss < plain_loss
