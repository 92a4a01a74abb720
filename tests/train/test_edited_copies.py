"""Edited copies of training rows: the same rows, written differently, from which a model learns to read what is written so."""

import random
from pathlib import Path

from sklearn.metrics import roc_auc_score

from data_prep.normaliser import normalise
from data_prep.table import load_examples
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.edited_copies import with_edited_copies
from train.edits import leet
from train.labels import MASKED
from train.prediction import predict_logits
from train.run import load_run
from train.selection import select_split
from train.stage import train
from train.tokenised import TokenisedRows


def test_a_copy_is_its_row_but_for_what_is_read_of_the_text(tiny_workspace: Path) -> None:
    table = load_examples(tiny_workspace / "data" / "mine")
    both = with_edited_copies(table, 0.5, seed=1)
    copies = both.select(range(len(table), len(both)))
    assert both.select(range(len(table))).to_list() == table.to_list()
    assert both.features == table.features
    assert len(copies) == round(0.5 * len(table))
    originals = {row["id"]: row for row in table.to_list()}
    for copy in copies.to_list():
        original = originals[copy["id"]]
        assert {**copy, "text": ""} == {**original, "text": ""}
        assert normalise(copy["text"]) != normalise(original["text"])


def test_copies_are_the_same_for_the_same_seed_only(tiny_workspace: Path) -> None:
    table = load_examples(tiny_workspace / "data" / "mine")
    one, same, other = (with_edited_copies(table, 0.3, seed)["text"][len(table) :] for seed in (1, 1, 2))
    assert one == same != other


def test_a_text_that_no_edit_changes_has_no_copy(tiny_workspace: Path) -> None:
    table = load_examples(tiny_workspace / "data" / "mine").select(range(4)).map(lambda row: {"text": "7"})
    assert with_edited_copies(table, 1, seed=1).to_list() == table.to_list()


def test_what_was_learnt_from_copies_is_known_in_another_writing(tmp_path: Path) -> None:
    """Words whose letters training never showed as digits mean nothing so written; after copies they do."""
    random_, rows = random.Random(0), tiny_rows(480)
    for row in rows:  # as many words whatever the label, or their number would tell it; and none has a letter that stays a letter
        told = "qq" in row["text"].split()
        words = [word for word in row["text"].split() if word not in ("zz", "qq")]
        row["text"] = " ".join([*words, random_.choice(("assess", "estate") if told else ("oasis", "tattoo"))])
        row["violence_glorification"] = None
    prepare_rows(tmp_path, rows)
    # the loss, because plain rows are soon ranked without a fault, before copies are learnt
    settings = tiny_settings(tmp_path, "trainer.learning_rate=5e-3", "trainer.best_metric=loss")
    heads = sorted(settings.heads)
    table = select_split(load_examples(tmp_path / "data" / "mine"), "test", heads).map(lambda row: {"text": leet(row["text"])})
    areas = {}
    for share in (0.0, 1.0):
        settings.trainer.edited_copies = share
        run = load_run(train(settings))
        rows_so_written = TokenisedRows(table, run.tokenizer, heads)
        logits, _ = predict_logits(run.model, rows_so_written)
        judged = rows_so_written.labels[:, 0] != MASKED
        areas[share] = roc_auc_score(rows_so_written.labels[judged, 0], logits[judged, 0])
    assert areas[1.0] > areas[0.0] + 0.1
