"""The steps of a training run, in the order `python -m train` calls them."""

import contextlib
import datetime
import pickle
import resource
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from transformers import EarlyStoppingCallback, TrainerState, set_seed

from data_prep.command import UserError, first_line, system_sentence
from data_prep.files import read_json, write_bytes
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings
from data_prep.table import load_examples
from train.adaptation import build_adaptation
from train.adapters import add_adapters, merge_adapters
from train.averaging import average_runs
from train.checkpoints import SafeStops, is_whole, newest_whole_checkpoint, spent_seconds, trained_seconds
from train.distillation import Unpruned, teacher_logits
from train.edited_copies import with_edited_copies
from train.encoder import Encoder, load_encoder, trim_vocabulary
from train.limits import check_train_settings
from train.model import MultiHeadClassifier, build_classifier
from train.ngrams import fit_ngrams, ngram_logits
from train.overview import plot_policy, plot_run, write_index
from train.policy import Policy, fit_policy
from train.prediction import predict_logits
from train.processes import agree, is_main_process, whole
from train.projection import add_projection
from train.pruning import prune
from train.rounding import round_weights
from train.run import LOCK, alone_with, begin_run, point_latest, save_run, unfinished_settings
from train.selection import leave_out, select_split, take_fraction
from train.settings import TrainerSettings, TrainSettings
from train.tokenised import TokenisedRows
from train.trainer import LengthBucketedTrainer, build_trainer, computes_in_bf16
from train.validation import language_metrics


class Interrupted(SystemExit):
    """A signal ended the training; its state is saved, and the exit code is the shell's for that signal."""


def find_examples(settings: TrainSettings) -> Dataset:
    """The mixture's Example table; prepared now if it is missing and every source is embedded in the repository.

    Raises
    ------
    UserError
        If the table is not there or was prepared without one of the heads.
    """
    folder = Path(settings.data_dir) / settings.mixture.name
    embedded = all(source.embedded for source in settings.mixture.sources.values())
    if not (folder / "manifest.json").is_file() and embedded:
        prepare(DataPrepSettings(settings.mixture, settings.heads, settings.data_root, settings.data_dir))
    table = load_examples(folder)
    if missing := sorted(settings.heads.keys() - set(table.column_names)):
        raise UserError(f"{folder} was prepared without the head {missing[0]}: prepare it again with the same head@heads=... as here")
    return table


@dataclass
class Tuned:
    """What fine-tuning leaves: the model, its tokenizer, the training log and the figures that a run records."""

    model: MultiHeadClassifier
    tokenizer: Tokenizer
    log: list[dict[str, Any]]
    figures: dict[str, float]


@dataclass
class Fitted(Tuned):
    """The same, rounded, with a policy."""

    policy: Policy


def train(settings: TrainSettings) -> Path:
    """Fine-tune, fit the policy, save the run; returns its folder.

    Raises
    ------
    UserError
        If the data, the encoder or the run to resume cannot be used, or the disk is full.
    Interrupted
        If a signal ended the training; a checkpoint to resume from is saved.
    """
    started = time.monotonic()
    folder = Path(settings.resume) if settings.resume else None
    if folder is not None:
        if (folder / "run.json").is_file() and (folder / "checkpoints").is_dir():  # ended between the last file and the tidying up
            _tidy_up(folder)
            return folder
        settings = unfinished_settings(folder)
    check_train_settings(settings)
    table = find_examples(settings)
    manifest = read_json(Path(settings.data_dir) / settings.mixture.name / "manifest.json")
    table, heads = leave_out(table, settings.leave_out), sorted(settings.heads)
    train_table, validation_table = (
        take_fraction(select_split(table, split, heads), settings.fraction) for split in ("train", "validation")
    )
    corpus = take_fraction(table.select(np.flatnonzero(np.asarray(table["split"][:]) == "train")), settings.fraction)
    if folder is None:
        folder = Path(settings.runs_dir) / settings.name / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        folder = agree(begin_run(folder, settings, manifest) if is_main_process() else folder)
    elif read_json(folder / "begun.json")["table_sha256"] != manifest["table_sha256"]:
        raise UserError(f"the data in {settings.data_dir}/{settings.mixture.name} changed since {folder} began: train again")

    spent = spent_seconds(folder / "checkpoints")  # before it was resumed
    with alone_with(folder) if is_main_process() else contextlib.nullcontext():
        try:
            fitted = fit(settings, train_table, validation_table, folder, corpus)
        except (UserError, OSError):
            if all(path.name == LOCK for path in (folder / "checkpoints").glob("*")):
                shutil.rmtree(folder, ignore_errors=True)  # nothing was trained: nothing to go on from
            raise
        if is_main_process():
            add_projection(fitted.model, fitted.tokenizer, train_table["text"][:], settings.projection, settings.trainer.seed)
            before = fitted.figures.get("total_seconds", 0.0)  # what averaged runs took
            figures = {**fitted.figures, "total_seconds": before + spent + time.monotonic() - started}
            try:
                if fitted.log:
                    plot_run(folder, fitted.log, settings.trainer.best_metric)
                save_run(folder, settings, fitted.model, fitted.tokenizer, fitted.policy, manifest, fitted.log, figures)
            except Exception as error:
                _tell_full_disk(folder, error)
                raise
            _tidy_up(folder)
    return folder


def _tidy_up(folder: Path) -> None:
    """What follows a finished run: it is the latest and in the list, and its checkpoints go, last, as the sign that all is done."""
    point_latest(folder)
    write_index(folder.parent.parent)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _tell_full_disk(folder: Path, error: Exception) -> None:
    """Raise a `UserError` if the disk is full: each library below says so in another way."""
    if shutil.disk_usage(folder).free < 2**28 or system_sentence(error):
        raise UserError(
            f"the disk with {folder} is full ({first_line(error)}): make room, then go on with `python -m train resume={folder}`"
        ) from error


def fit(settings: TrainSettings, train_table: Dataset, validation_table: Dataset, folder: Path, corpus: Dataset | None = None) -> Fitted:
    """Fine-tune on the training rows, or average runs that were; the validation rows choose the checkpoint and the policy.

    The whole recipe of a run, from the pre-trained encoder on, for any rows with at least one judged head. `folder` keeps
    the trainer's checkpoints; the newest whole one there is gone on from, to the weights that an uninterrupted run ends with.
    `corpus` has the rows, labelled or not, whose texts the encoder is adapted to first, if the settings say so; else the
    training rows.
    """
    heads = sorted(settings.heads)
    cache = Path(settings.data_dir) / ".cache" / "tokens"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    set_seed(settings.trainer.seed)
    if settings.average:
        model, tokenizer, together = average_runs(settings)
        tuned = Tuned(model, tokenizer, [], together)
    else:
        tuned = fine_tune(settings, train_table, validation_table, folder, corpus)
    model = tuned.model
    round_weights(model)
    model.set_attn_implementation("sdpa")  # what a run computes with, whatever training used
    validation_rows = TokenisedRows(validation_table, tuned.tokenizer, heads, cache)
    logits, _ = predict_logits(model, validation_rows)
    strengths = [0.0] * len(heads)
    if settings.ngram_buckets:
        train_rows = TokenisedRows(train_table, tuned.tokenizer, heads, cache)
        ngrams, strengths = fit_ngrams(train_rows, validation_rows, logits, settings.ngram_buckets)
        if any(strengths):
            logits += ngram_logits(ngrams, validation_rows)
            model.use_ngrams(ngrams)
    neutral = np.asarray([[sense[head] == "neutral" for head in heads] for sense in validation_table["sense"][:]])
    policy = fit_policy(logits, validation_rows.labels, validation_rows.languages, heads, settings.policy, neutral)
    plot_policy(folder, policy, logits, validation_rows.labels, validation_rows.languages)
    best_metric = settings.trainer.best_metric
    reached = language_metrics(logits, validation_rows.labels, validation_rows.languages, heads, best_metric)
    figures = {
        "train_rows": len(train_table),
        "best_metric": reached.get(best_metric, 0.0),  # of averaged runs; training has its own, of the weights before they were rounded
        **tuned.figures,
        "validation_rows": len(validation_rows),
        "vocabulary": tuned.tokenizer.get_vocab_size(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "finished_macro_auprc": reached["macro_auprc"],
        **{f"ngram_strength/{head}": strength for head, strength in zip(heads, strengths, strict=True)},
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
        "peak_gpu_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0,
    }
    return Fitted(model, tuned.tokenizer, tuned.log, figures, policy)


def fine_tune(settings: TrainSettings, train_table: Dataset, validation_table: Dataset, folder: Path, corpus: Dataset | None) -> Tuned:
    """Train the encoder and the heads, from the pre-trained weights or the newest checkpoint on; see `fit`."""
    heads = sorted(settings.heads)
    cache = Path(settings.data_dir) / ".cache" / "tokens"
    encoder = load_encoder(settings.encoder)
    if settings.trainer.edited_copies:
        train_table = with_edited_copies(train_table, settings.trainer.edited_copies, settings.trainer.seed)
    adapting = settings.adaptation.epochs > 0
    read = [train_table] if corpus is None or not adapting else [train_table, corpus]
    if settings.encoder.trim:
        texts = [text for table in read for text in table["text"][:]]
        encoder = trim_vocabulary(encoder, texts, settings.encoder.reserve, cache)
    if adapting:
        adapt(encoder, read[-1], settings, folder)
    model = build_classifier(encoder, heads, settings.encoder.pooling, settings.trainer.dropout)
    tokenizer = encoder.tokenizer
    train_rows = TokenisedRows(train_table, tokenizer, heads, cache)
    if settings.trainer.distillation.teachers:
        kept = folder / "checkpoints" / "teacher.npy"
        bf16 = computes_in_bf16(settings.trainer.bf16)
        train_rows.teacher = teacher_logits(settings.trainer.distillation, train_table, heads, cache, kept, bf16)
    validation_rows = TokenisedRows(validation_table, tokenizer, heads, cache)
    sources = train_table["source"][:]
    before, unpruned, seconds, recipe = TrainerState(epoch=0.0), None, 0.0, settings.trainer
    left = settings.encoder.feed_forward, settings.encoder.attention_heads
    if left != (None, None):
        model, before, seconds = train_before_pruning(model, train_rows, sources, validation_rows, recipe, folder)
        unpruned = Unpruned(model) if recipe.distillation.layers_weight else None
        recipe = replace(recipe, epochs=recipe.epochs_after_pruning)
        texts, languages = train_table["text"][:], train_table["language"][:]
        prune(model.roberta, tokenizer, texts, languages, *left)
        print(f"pruned each layer to {left[0] or 'all'} inner neurons and {left[1] or 'all'} attention heads")
    adapted = add_adapters(model, settings.trainer.lora) if settings.trainer.lora.rank else None
    trainer = build_trainer(model, train_rows, sources, validation_rows, recipe, folder, unpruned=unpruned)
    training_loss, last_seconds = run_trainer(trainer, folder)
    seconds += last_seconds
    steps, epochs = before.global_step, before.epoch or 0.0
    log = [{**entry, "step": entry["step"] + steps, "epoch": entry["epoch"] + epochs} for entry in trainer.state.log_history]

    figures = {
        "train_rows": len(train_rows),
        "steps": steps + trainer.state.global_step,
        "training_seconds": seconds,
        "rows_per_second": len(trainer.sampler.draw(0)) * (epochs + (trainer.state.epoch or 0)) / seconds if seconds else 0.0,
        "train_loss": training_loss,
        "best_metric": trainer.state.best_metric or 0.0,
    }
    # what is fitted next is fitted to the model as it will be read, which computes in float32, not in training's bfloat16
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return Tuned(merge_adapters(adapted) if adapted else whole(model), tokenizer, before.log_history + log, figures)


def adapt(encoder: Encoder, corpus: Dataset, settings: TrainSettings, folder: Path) -> None:
    """Adapt the encoder to the corpus, in place; a resumed run takes the weights that it had adapted before."""
    adapted = folder / "checkpoints" / "adapted.safetensors"
    if adapted.is_file():
        encoder.model.load_state_dict(load_file(adapted))
    else:
        rows = TokenisedRows(corpus, encoder.tokenizer, sorted(settings.heads), Path(settings.data_dir) / ".cache" / "tokens")
        trainer = build_adaptation(encoder, rows, corpus["source"][:], settings, folder / "checkpoints" / "adaptation")
        loss, _ = run_trainer(trainer, folder)
        print(f"adapted the encoder to {len(rows)} texts: mean cross-entropy of a masked piece {loss:.3f}")
        if is_main_process():
            write_bytes(adapted, save({name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}))
    set_seed(settings.trainer.seed)  # what follows is the same whether the weights were read or made


def train_before_pruning(
    model: MultiHeadClassifier,
    train_rows: TokenisedRows,
    sources: list[str],
    validation_rows: TokenisedRows,
    settings: TrainerSettings,
    folder: Path,
) -> tuple[MultiHeadClassifier, TrainerState, float]:
    """Fine-tune with all inner neurons and heads; a resumed run takes the weights that it had then.

    Returns the model, how its training ended and how many seconds it took.

    What they are worth shows in a model that knows its task: pruned at once, an encoder learns less (docs/results.md).
    """
    trained = folder / "checkpoints" / "before_pruning.safetensors"
    if trained.is_file():
        model.load_state_dict(load_file(trained))
        state, seconds = TrainerState.load_from_json(str(trained.with_suffix(".json"))), trained_seconds(trained.with_suffix(""))
    else:
        adapted = add_adapters(model, settings.lora) if settings.lora.rank else None
        trainer = build_trainer(model, train_rows, sources, validation_rows, settings, folder, "before_pruning")
        _, seconds = run_trainer(trainer, folder)
        state = trainer.state
        model = merge_adapters(adapted) if adapted else whole(model)
        if is_main_process():
            state.save_to_json(str(trained.with_suffix(".json")))
            write_bytes(trained, save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    set_seed(settings.seed)  # what follows is the same whether the weights were read or made
    return model, state, seconds


def run_trainer(trainer: LengthBucketedTrainer, folder: Path) -> tuple[float, float]:
    """Train from the newest whole checkpoint, or from the beginning.

    Returns the mean training loss, and how many seconds it took, those before it was resumed included.

    Raises
    ------
    UserError
        If the disk is full, or the best checkpoint was damaged meanwhile.
    Interrupted
        After a signal.
    """
    checkpoint = newest_whole_checkpoint(Path(str(trainer.args.output_dir)))
    stops = next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, SafeStops))
    if checkpoint is not None:
        stops.restore(checkpoint)
    again = f"`python -m train resume={folder}`"
    if checkpoint is not None:
        reached = read_json(checkpoint / "trainer_state.json")
        if reached["global_step"] >= reached["max_steps"] or _patience_was_over(trainer, reached):
            return _take_up_end(trainer, checkpoint), stops.seconds
    try:
        with stops.listening():
            loss: float = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).training_loss
    except Exception as error:
        _tell_full_disk(folder, error)
        if checkpoint is not None and isinstance(error, pickle.UnpicklingError):
            raise UserError(
                f"{checkpoint} holds a file that is no plain data ({first_line(error)}), so somebody made or changed it: do not "
                "trust that folder, and train again"
            ) from error
        raise
    if stops.signal is not None:
        print(f"stopped by signal {stops.signal} after step {trainer.state.global_step}; go on with {again}", file=sys.stderr)
        raise Interrupted(128 + stops.signal)
    _check_best(trainer, again)
    return loss, stops.seconds


def _patience_was_over(trainer: LengthBucketedTrainer, reached: dict[str, Any]) -> bool:
    """Give early stopping the evaluations without a gain that it had counted; whether they were enough to stop for."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, EarlyStoppingCallback):
            # by hand: Trainer would restore its control too, with the wish to stop that a signal left there
            counted = reached["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"]
            callback.early_stopping_patience_counter = counted
            return bool(counted >= callback.early_stopping_patience)
    return False


def _take_up_end(trainer: LengthBucketedTrainer, checkpoint: Path) -> float:
    """Give the model the weights of a training that had made its last step; Trainer itself would make one more."""
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if trainer.args.load_best_model_at_end:
        _check_best(trainer, "`python -m train` anew")
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(str(checkpoint))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return float(np.mean(losses)) if losses else 0.0  # none was logged in so few steps


def _check_best(trainer: LengthBucketedTrainer, again: str) -> None:
    best = trainer.state.best_model_checkpoint
    if best is not None and not is_whole(Path(best)):
        raise UserError(f"the best checkpoint {best} was damaged meanwhile: go on with {again}")
