"""The steps of a training run, in the order `python -m train` calls them."""

import datetime
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from transformers import set_seed

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings
from data_prep.table import load_examples
from train.encoder import load_encoder, trim_vocabulary
from train.model import MultiHeadClassifier, build_classifier
from train.policy import Policy, fit_policy
from train.run import point_latest, save_run
from train.settings import TrainSettings
from train.tokenised import TokenisedRows, label_matrix
from train.trainer import build_trainer, judged_rows, predict_logits


def find_examples(settings: TrainSettings) -> Dataset:
    """The mixture's Example table; prepared now if it is missing and every source is embedded in the repository."""
    folder = Path(settings.data_dir) / settings.mixture.name
    embedded = all(source.embedded for source in settings.mixture.sources.values())
    if not (folder / "manifest.json").is_file() and embedded:
        prepare(DataPrepSettings(settings.mixture, settings.heads, settings.data_root, settings.data_dir))
    return load_examples(folder)


def select_split(table: Dataset, split: str, heads: list[str]) -> Dataset:
    """A split's rows with at least one judged head.

    Raises
    ------
    UserError
        If there is none.
    """
    rows = table.select(np.flatnonzero(np.asarray(table["split"]) == split))
    rows = rows.select(judged_rows(label_matrix(rows, heads))) if len(rows) else rows
    if not len(rows):
        raise UserError(f"the mixture has no labelled {split} row: give its sources more rows or other split fractions")
    return rows


@dataclass
class Fitted:
    """What fine-tuning leaves: the model, its tokenizer and policy, the training log and the figures that a run records."""

    model: MultiHeadClassifier
    tokenizer: Tokenizer
    policy: Policy
    log: list[dict[str, Any]]
    figures: dict[str, float]


def train(settings: TrainSettings) -> Path:
    """Fine-tune, fit the policy, save the run; returns its folder."""
    started = time.monotonic()
    table = find_examples(settings)
    manifest = read_json(Path(settings.data_dir) / settings.mixture.name / "manifest.json")
    heads = sorted(settings.heads)
    train_table = select_split(table, "train", heads)
    validation_table = select_split(table, "validation", heads)

    folder = Path(settings.runs_dir) / settings.name / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    fitted = fit(settings, train_table, validation_table, folder)
    figures = {**fitted.figures, "total_seconds": time.monotonic() - started}
    save_run(folder, settings, fitted.model, fitted.tokenizer, fitted.policy, manifest, fitted.log, figures)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    point_latest(folder)
    return folder


def fit(settings: TrainSettings, train_table: Dataset, validation_table: Dataset, folder: Path) -> Fitted:
    """Fine-tune on the training rows; the validation rows choose the checkpoint and the policy.

    The whole recipe of a run, from the pre-trained encoder on, for any rows with at least one judged head. `folder` must
    not exist: it is made once the encoder is loaded, and keeps the trainer's checkpoints.
    """
    heads = sorted(settings.heads)
    set_seed(settings.trainer.seed)
    encoder = load_encoder(settings.encoder)
    if settings.encoder.trim:
        encoder = trim_vocabulary(encoder, list(train_table["text"]), settings.encoder.reserve)
    model = build_classifier(encoder, heads, settings.encoder.pooling, settings.trainer.dropout)
    tokenizer = encoder.tokenizer
    train_rows = TokenisedRows(train_table, tokenizer, heads)
    lengths = TokenisedRows(validation_table, tokenizer, heads).lengths
    validation_table = validation_table.select(np.argsort(-lengths, kind="stable"))  # longest first: memory trouble shows early
    validation_rows = TokenisedRows(validation_table, tokenizer, heads)

    folder.mkdir(parents=True)
    trainer = build_trainer(
        model, train_rows, list(train_table["source"]), validation_rows, list(validation_table["language"]), settings.trainer, folder
    )
    training_started = time.monotonic()
    result = trainer.train()
    training_seconds = time.monotonic() - training_started

    logits, _ = predict_logits(model, validation_rows)
    policy = fit_policy(logits, validation_rows.labels, list(validation_table["language"]), heads, settings.policy)
    log = trainer.state.log_history
    figures = {
        "train_rows": len(train_rows),
        "validation_rows": len(validation_rows),
        "vocabulary": len(encoder.pieces),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": trainer.state.global_step,
        "training_seconds": training_seconds,
        "rows_per_second": len(np.concatenate(trainer.sampler._batches(0))) * settings.trainer.epochs / training_seconds,
        "train_loss": result.training_loss,
        "best_metric": trainer.state.best_metric or 0.0,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
        "peak_gpu_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0,
    }
    return Fitted(model, tokenizer, policy, log, figures)
