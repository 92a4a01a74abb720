"""`transformers.Trainer` with this project's batches; loss, checkpoints, resume and scale-out are its own."""

import importlib.util
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from data_prep.command import UserError
from train.checkpoints import SafeStops
from train.distillation import Unpruned, layer_outputs
from train.labels import MASKED
from train.loss import MaskedLoss, agreement_penalty, distillation_loss, masked_bce, unlearnt_share
from train.memory import batch_that_fits, keep_freed_memory
from train.model import MultiHeadClassifier
from train.packing import PACKED
from train.parameter_groups import freeze, parameter_groups
from train.prediction import predict_logits
from train.processes import process_count
from train.progress import LanguageProgress
from train.sampling import Indices, LengthBucketedBatches
from train.settings import TrainerSettings
from train.tokenised import Item, TokenisedRows, collate, text_inputs
from train.validation import language_metrics, parse_metric


def computes_in_bf16(choice: bool | None) -> bool:
    """Whether to train in bfloat16: None asks the GPU, or else the processor (AVX512-BF16 or AMX)."""
    if choice is not None:
        return choice
    if torch.cuda.is_available():
        return _gpu_has_bf16()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _gpu_has_bf16() -> bool:
    """Whether the GPU multiplies in bfloat16 itself, as from NVIDIA's Ampere on; older ones emulate it, slower than float32."""
    return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))


class SamplerEpochs(TrainerCallback):
    """Tells the sampler which epoch begins: a resumed run of several processes wraps it too deep for Trainer to reach it."""

    def __init__(self, sampler: LengthBucketedBatches) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """As many epochs were trained as the steps so far make."""
        steps_per_epoch = len(self.sampler) // (args.world_size * args.gradient_accumulation_steps)
        self.sampler.set_epoch(state.global_step // steps_per_epoch)


class LengthBucketedTrainer(Trainer):
    """A Trainer whose batches hold a budget of tokens rather than a number of rows."""

    def __init__(self, *args: Any, sampler: LengthBucketedBatches, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.args._n_gpu = min(1, self.args.n_gpu)  # or Trainer cuts a batch, packed rows too, among all GPUs that it sees
        self.sampler = sampler
        self.add_callback(SamplerEpochs(sampler))

    def get_train_dataloader(self) -> DataLoader[Item]:
        """Batches of the sampler, sharded over processes by accelerate."""
        assert self.train_dataset is not None
        pinned = torch.cuda.is_available()
        loader = DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=self.data_collator, pin_memory=pinned)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own, in memory that its steps share where that takes asking."""
        if self.args.device.type == "cpu":
            keep_freed_memory()
        return super().train(*args, **kwargs)


class BucketedTrainer(LengthBucketedTrainer):
    """The classifier's trainer: the masked loss, rates per layer, and measures per language."""

    def __init__(
        self,
        *args: Any,
        loss: MaskedLoss,
        validation_languages: list[str],
        settings: TrainerSettings,
        unpruned: Unpruned | None,
        **kwargs: Any,
    ) -> None:
        # Trainer asks for a function to know that the loss counts the cells of the whole step; `compute_loss` below calls it
        super().__init__(*args, compute_loss_func=loss, **kwargs)
        self.loss = loss.to(self.args.device)
        self.validation_languages = validation_languages
        self.settings = settings
        self.unpruned = unpruned

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Over compiled layers if the settings ask for it and none is asked for its output, or it would be compiled anew for each batch."""
        with compiled_layers(self.model) if self.settings.compile and self.unpruned is None else nullcontext():
            return super().train(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The optimiser that Trainer would take, over this project's parameter groups."""
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        optimiser: torch.optim.Optimizer = kind(parameter_groups(self.model, self.settings), **options)
        self.optimizer = optimiser
        return optimiser

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """What Trainer accumulates: `MaskedLoss` of a batch, with R-Drop's second pass and what a teacher says if they are asked for."""
        texts = text_inputs(inputs)
        labels, languages = inputs["labels"], inputs["language"]
        noting: AbstractContextManager[list[torch.Tensor]] = nullcontext([])
        if self.unpruned is not None:
            noting = layer_outputs(self.accelerator.unwrap_model(model))
        with noting as layers:
            outputs = model(**texts)
        logits = outputs.logits.float()
        judged = (labels != MASKED).sum()
        cells = judged if num_items_in_batch is None else num_items_in_batch
        if self.loss.settings.r_drop > 0:
            again = model(**texts).logits.float()
            loss = self.loss(torch.cat([logits, again]), labels.repeat(2, 1), languages.repeat(2), 2 * cells)
            loss = loss + self.loss.settings.r_drop * agreement_penalty(logits, again) * judged / cells
        else:
            loss = self.loss(logits, labels, languages, cells)
        if self.unpruned is not None or "teacher" in inputs:
            lesson = self._lesson(texts, logits, layers, inputs.get("teacher"))
            loss = (1 - self.settings.distillation.weight) * loss + lesson * judged / cells
        loss = loss * self.accelerator.num_processes  # whose gradients are averaged, though the cells of all were counted
        return (loss, outputs) if return_outputs else loss

    def _lesson(self, texts: dict[str, Any], logits: torch.Tensor, layers: list[torch.Tensor], scores: torch.Tensor | None) -> torch.Tensor:
        """How far the model is from its teachers: from other runs' scores, or its own from before pruning, and its own layers of then."""
        taught = self.settings.distillation
        if self.unpruned is None:
            assert scores is not None
            return taught.weight * distillation_loss(logits, scores, taught.temperature)
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            own_scores, own_layers = self.unpruned.answer(texts)
        softened = distillation_loss(logits, own_scores if scores is None else scores, taught.temperature)
        real = texts["attention_mask"].bool() if "attention_mask" in texts else ...  # packed rows have no padding
        states, goals = ([layer[real].float().flatten(0, -2) for layer in outputs] for outputs in (layers, own_layers))
        return taught.weight * softened + taught.layers_weight * unlearnt_share(states, goals)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Loss and figures per language on the validation rows, of which each process computes its share."""
        rows: TokenisedRows = self.eval_dataset
        model = self.accelerator.unwrap_model(self.model)
        world, rank = self.args.world_size, self.args.process_index
        # without gradients a GPU holds more than a training batch; a processor's caches do not
        budget = self.sampler.settings.tokens_per_batch * (1 if self.args.device.type == "cpu" else 4)
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            logits, _ = predict_logits(model, rows, budget, share=(rank, world))
        if world > 1:
            shares: list[Any] = [None] * world
            torch.distributed.all_gather_object(shares, logits)
            logits = np.nanmax(np.stack(shares), axis=0)  # a row is a number in one share and NaN in the others
        loss = float(masked_bce(torch.from_numpy(logits), torch.from_numpy(rows.labels).long()))
        figures = language_metrics(logits, rows.labels, self.validation_languages, list(model.config.heads), self.settings.best_metric)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in {"loss": loss, **figures}.items()}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


@contextmanager
def compiled_layers(model: MultiHeadClassifier, backend: Any = "inductor") -> Iterator[None]:
    """Within, each layer of the encoder runs as compiled by torch: one compilation, as all layers are alike.

    The weights and their names stay; only the layers' Python code is left out, and their small operations are fused.
    """
    layers = model.roberta.encoder.layer
    for layer in layers:
        layer.compile(dynamic=True, backend=backend)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None  # the inverse, for which torch has no function


def shared_arguments(settings: TrainerSettings, checkpoints: Path) -> dict[str, Any]:
    """What every training of a run tells Trainer, whatever it trains."""
    return {
        "output_dir": str(checkpoints),
        "max_steps": settings.max_steps,
        "weight_decay": settings.weight_decay,
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused",
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "bf16": computes_in_bf16(settings.bf16),
        "use_cpu": not torch.cuda.is_available(),
        "ddp_backend": "gloo" if process_count() > 1 and not torch.cuda.is_available() else None,
        # batches of many sizes, of which the sampler sees to equal numbers, on their way to a GPU while it is at work
        "accelerator_config": {"even_batches": False, "non_blocking": torch.cuda.is_available()},
        "logging_steps": 20,
        "logging_nan_inf_filter": False,  # would wait for the GPU at every step
        "seed": settings.seed,
        "data_seed": settings.seed,
        "remove_unused_columns": False,
    }


def build_trainer(
    model: MultiHeadClassifier,
    train_rows: TokenisedRows,
    train_sources: list[str],
    validation_rows: TokenisedRows,
    settings: TrainerSettings,
    folder: Path,
    phase: str = "",
    unpruned: Unpruned | None = None,
) -> BucketedTrainer:
    """A trainer that evaluates per language, keeps the best checkpoint by `settings.best_metric` and loads it at the end.

    A training that comes before a run's last names its `phase`: a folder for its checkpoints and curves below the run's. A pruned
    model may have `unpruned` to learn from.

    Raises
    ------
    UserError
        If the metric is unknown or a tracker is not installed.
    """
    if settings.best_metric != "loss":
        parse_metric(settings.best_metric)
    freeze(model, settings)
    packed = settings.packed if settings.packed is not None else _gpu_has_bf16() and computes_in_bf16(settings.bf16)
    if packed:
        for read in (model, unpruned.model) if unpruned else (model,):
            read.set_attn_implementation(PACKED)
    arguments = TrainingArguments(
        **shared_arguments(settings, folder / "checkpoints" / phase),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        ddp_find_unused_parameters=False,
        eval_strategy="steps",
        save_strategy="steps",
        save_total_limit=3,  # the best, the newest, and the one to fall back on
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{settings.best_metric}",
        greater_is_better=settings.best_metric != "loss",
        report_to=[name for name in check_trackers(settings.trackers) if name != "tensorboard"],
        label_names=["labels"],
    )
    if unpruned:
        unpruned.model.to(arguments.device)  # before it is asked what fits beside it
    sampling, accumulation = settings.sampling, settings.gradient_accumulation
    if arguments.device.type == "cuda":  # a processor's memory has no such limit that could be felt
        longest, passes = int(train_rows.lengths.max()), 2 if settings.loss.r_drop > 0 else 1
        fits = batch_that_fits(model, sampling.tokens_per_batch, longest, arguments.device, arguments.bf16, packed, passes)
        accumulation *= -(-sampling.tokens_per_batch // fits)
        sampling = replace(sampling, tokens_per_batch=fits)
        arguments.gradient_accumulation_steps = accumulation
    sampler = LengthBucketedBatches(
        train_rows.lengths.tolist(),
        train_sources,
        train_rows.languages,
        train_rows.labels,
        settings=sampling,
        seed=settings.seed,
        multiple_of=arguments.world_size * accumulation,
    )
    steps_per_epoch = len(sampler) // (arguments.world_size * accumulation)
    total_steps = settings.max_steps if settings.max_steps > 0 else math.ceil(steps_per_epoch * settings.epochs)
    evaluation_steps = min(max(1, steps_per_epoch // settings.evaluations_per_epoch), total_steps)
    arguments.warmup_steps = round(total_steps * settings.warmup_fraction)
    arguments.eval_steps = arguments.save_steps = evaluation_steps
    group_sizes, _ = count_cells(train_rows, np.arange(len(train_rows)))
    loss = MaskedLoss(settings.loss, list(model.config.heads), group_sizes, *count_cells(train_rows, sampler.draw(0)))
    callbacks: list[TrainerCallback] = [LanguageProgress(settings.best_metric), SafeStops(settings.checkpoint_minutes, loss)]
    if settings.patience is not None:
        callbacks.append(EarlyStoppingCallback(settings.patience))
    if "tensorboard" in settings.trackers and arguments.process_index == 0:
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        callbacks.append(TensorBoardCallback(SummaryWriter(str(folder / "tensorboard" / phase))))
    trainer = BucketedTrainer(
        model=model,
        args=arguments,
        train_dataset=train_rows,
        eval_dataset=validation_rows,
        data_collator=partial(collate, packed=packed),
        callbacks=callbacks,
        sampler=sampler,
        loss=loss,
        validation_languages=validation_rows.languages,
        settings=settings,
        unpruned=unpruned,
    )
    for printing in (ProgressCallback, PrinterCallback):  # theirs print every figure of every language
        trainer.remove_callback(printing)
    return trainer


def count_cells(rows: TokenisedRows, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
    """Judged cells of these rows per language and head, shape (languages, heads), and positive cells per head."""
    labels, languages = rows.labels[indices], torch.from_numpy(rows.language_codes[indices])
    cells = torch.zeros(len(rows.language_names), labels.shape[1])
    cells.index_add_(0, languages, torch.from_numpy((labels != MASKED).astype(np.float32)))
    return cells, torch.from_numpy((labels == 1).sum(axis=0)).float()


def check_trackers(trackers: list[str]) -> list[str]:
    """The trackers, once it is sure that each can be imported.

    Raises
    ------
    UserError
        If one is unknown or not installed.
    """
    for name in trackers:
        if name not in ("tensorboard", "wandb", "mlflow"):
            raise UserError(f"trainer.trackers: {name} is unknown; use tensorboard, wandb or mlflow")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"trainer.trackers: {name} is not installed; run `pip install {name}`, or leave it out")
    return trackers
