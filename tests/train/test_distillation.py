"""A student learns a teacher's scores beside the labels."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from data_prep.command import UserError
from data_prep.files import read_json, write_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.distillation import teacher_logits
from train.labels import MASKED
from train.loss import distillation_loss
from train.ngrams import PieceNgrams
from train.prediction import predict_logits
from train.run import load_run
from train.selection import select_split
from train.settings import DistillationSettings, TrainSettings
from train.stage import find_examples, train
from train.tokenised import TokenisedRows, collate


def test_the_loss_by_hand() -> None:
    student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    taught = 1 / (1 + math.exp(-2))
    first = -0.5 * math.log(1 / (1 + math.exp(-1))) - 0.5 * math.log(1 - 1 / (1 + math.exp(-1)))
    second = math.log(2)  # an undecided student costs the same whatever it is taught
    assert distillation_loss(student, teacher, 2).item() == pytest.approx(4 * (first + second) / 2)
    student.requires_grad_(True)
    distillation_loss(student, teacher, 2).backward()
    gradient = [4 * (1 / (1 + math.exp(-1)) - 0.5) / 4, 4 * (0.5 - taught) / 4]  # T^2 x (p - q) / T / 2 cells
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx(gradient)


def test_the_gradient_is_as_large_at_every_temperature() -> None:
    gradients = []
    for temperature in (10.0, 1000.0):  # in the limit: half the squared distance of the logits, over 4
        student = torch.tensor([[0.3, -0.2]], requires_grad=True)
        distillation_loss(student, torch.tensor([[1.0, 1.0]]), temperature).backward()
        assert student.grad is not None
        gradients.append(student.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.01, atol=1e-4)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainSettings, Path]:
    """A prepared mixture whose training rows judge only propaganda, its settings, and a teacher of both heads."""
    folder = tmp_path_factory.mktemp("distillation")
    rows = tiny_rows(480)
    prepare_rows(folder, rows)
    teacher = train(tiny_settings(folder, "name=teacher"))
    for row in rows:
        if row["split"] == "train":
            row["violence_glorification"] = None
    prepare_rows(folder, rows)
    return folder, tiny_settings(folder, "name=student"), teacher


def test_a_head_that_no_row_judges_is_learnt_from_the_teacher(workspace: tuple[Path, TrainSettings, Path]) -> None:
    _, settings, teacher = workspace
    table = select_split(find_examples(settings), "test", sorted(settings.heads))
    areas = {}
    for name in ("alone", "taught"):
        settings.trainer.distillation.teachers = [str(teacher)] if name == "taught" else []
        run = load_run(train(settings))
        rows = TokenisedRows(table, run.tokenizer, sorted(settings.heads))
        logits, _ = predict_logits(run.model, rows)
        judged = rows.labels[:, 1] != MASKED
        areas[name] = roc_auc_score(rows.labels[judged, 1], logits[judged, 1])
    assert areas["taught"] > 0.95 > 0.7 > areas["alone"]


def test_rows_carry_their_teachers_logits_into_batches(workspace: tuple[Path, TrainSettings, Path], tmp_path: Path) -> None:
    _, settings, teacher = workspace
    table = select_split(find_examples(settings), "train", sorted(settings.heads))
    choice = DistillationSettings([str(teacher)])
    heads = ["violence_glorification", "propaganda"]  # another order than the teacher's
    logits = teacher_logits(choice, table, heads, tmp_path, tmp_path / "kept.npy", bf16=False)
    run = load_run(teacher)
    expected, _ = predict_logits(run.model, TokenisedRows(table, run.tokenizer, heads))
    np.testing.assert_allclose(logits, expected[:, ::-1], atol=1e-6)
    rows = TokenisedRows(table, run.tokenizer, heads)
    assert "teacher" not in collate([rows[0]])
    rows.teacher = logits
    np.testing.assert_allclose(collate([rows[3], rows[5]])["teacher"], logits[[3, 5]])
    assert np.array_equal(np.load(tmp_path / "kept.npy", allow_pickle=False), logits)
    rounded = teacher_logits(choice, table, heads, tmp_path, tmp_path / "rounded.npy", bf16=True)
    assert 0 < np.abs(rounded - logits).max() < 0.1


def test_a_teachers_ngrams_teach_nothing(workspace: tuple[Path, TrainSettings, Path], tmp_path: Path) -> None:
    _, settings, teacher = workspace
    heads = sorted(settings.heads)
    table = select_split(find_examples(settings), "train", heads)
    with_ngrams = tmp_path / "with_ngrams"
    shutil.copytree(teacher, with_ngrams)
    model = load_run(teacher).model
    ngrams = PieceNgrams(64, len(heads))
    ngrams.weight.data += 1
    model.use_ngrams(ngrams)
    model.save_pretrained(with_ngrams / "model")
    record = read_json(with_ngrams / "run.json")
    write_json(with_ngrams / "run.json", {**record, "sha256": {}})
    plain, other = (
        teacher_logits(DistillationSettings([str(run)]), table, heads, tmp_path, tmp_path / f"{run.name}.npy", bf16=False)
        for run in (teacher, with_ngrams)
    )
    assert load_run(with_ngrams).model.ngrams is not None
    np.testing.assert_allclose(other, plain, atol=1e-6)


def test_several_teachers_teach_their_mean(workspace: tuple[Path, TrainSettings, Path], tmp_path: Path) -> None:
    _, settings, teacher = workspace
    heads = sorted(settings.heads)
    table = select_split(find_examples(settings), "train", heads)
    settings.trainer.distillation.teachers = []
    other = train(settings)
    alone = [
        teacher_logits(DistillationSettings([str(run)]), table, heads, tmp_path, tmp_path / f"{run.parent.name}.npy", bf16=False)
        for run in (teacher, other)
    ]
    both = teacher_logits(DistillationSettings([str(teacher), str(other)]), table, heads, tmp_path, tmp_path / "both.npy", bf16=False)
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-5)


def test_a_teacher_that_cannot_teach_is_refused(workspace: tuple[Path, TrainSettings, Path], tmp_path: Path) -> None:
    _, settings, teacher = workspace
    table = find_examples(settings)
    for choice, heads, message in (
        (DistillationSettings([str(tmp_path / "none")]), ["propaganda"], "no run at"),
        (DistillationSettings([str(teacher)]), ["satire"], "has no head satire"),
        (DistillationSettings([str(teacher)], weight=0), ["propaganda"], "weight"),
        (DistillationSettings([str(teacher)], temperature=0), ["propaganda"], "temperature"),
    ):
        with pytest.raises(UserError, match=message):
            teacher_logits(choice, table, heads, tmp_path, tmp_path / "kept.npy", bf16=False)
