"""R-Drop in a training run: two dropout passes come to agree."""

from pathlib import Path

import torch

from data_prep.table import load_examples
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.loss import agreement_penalty
from train.run import load_run
from train.stage import select_split, train
from train.tokenised import TokenisedRows, collate


def divergence_and_accuracy(folder: Path, r_drop: float) -> tuple[float, float]:
    """Of two dropout passes of a model trained with this weight, on the training rows."""
    settings = tiny_settings(folder, "trainer.dropout=0.3", "trainer.max_steps=120")
    settings.trainer.loss.r_drop = r_drop
    run = load_run(train(settings))
    heads = list(run.model.config.heads)
    rows = TokenisedRows(select_split(load_examples(folder / "data" / "mine"), "train", heads), run.tokenizer, heads)
    inputs = collate([rows[index] for index in range(len(rows))])
    torch.manual_seed(0)
    with torch.inference_mode():
        quiet = run.model.eval()(inputs["input_ids"], inputs["attention_mask"]).logits
        model = run.model.train()
        passes = [model(inputs["input_ids"], inputs["attention_mask"]).logits for _ in range(20)]
    judged = inputs["labels"] >= 0
    correct = ((quiet > 0) == (inputs["labels"] == 1))[judged].float().mean()
    pairs = zip(passes[::2], passes[1::2], strict=True)
    return sum(agreement_penalty(one, other).item() for one, other in pairs) / 10, float(correct)


def test_dropout_passes_agree_more_and_the_rows_are_still_learnt(tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows(160))
    plain, _ = divergence_and_accuracy(tmp_path, 0.0)
    with_penalty, accuracy = divergence_and_accuracy(tmp_path, 3.0)
    assert with_penalty < 0.75 * plain
    assert accuracy > 0.9
