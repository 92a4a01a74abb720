"""`transformers.Trainer` with this project's batches; loss, checkpoints, resume and scale-out are its own."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from train.loss import MASKED, compute_loss
from train.model import MultiHeadClassifier
from train.progress import LanguageProgress
from train.sampling import LengthBucketedBatches, batch_by_tokens
from train.settings import TrainerSettings
from train.tokenised import Item, TokenisedRows, collate
from train.validation import make_compute_metrics


def computes_in_bf16(choice: bool | None) -> bool:
    """Whether to train in bfloat16: None asks the GPU, or else the processor (AVX512-BF16 or AMX)."""
    if choice is not None:
        return choice
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class BucketedTrainer(Trainer):
    """A Trainer whose batches hold a budget of tokens rather than a number of rows."""

    def __init__(self, *args: Any, sampler: LengthBucketedBatches, head_learning_rate: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.head_learning_rate = head_learning_rate

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Trainer's optimiser, with the heads in a group of their own that learns faster."""
        optimiser: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        heads = list(self.model.classifier.parameters())
        ours = {id(parameter) for parameter in heads}
        for group in optimiser.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ours]
        optimiser.add_param_group({"params": heads, "lr": self.head_learning_rate, "weight_decay": 0.0})
        return optimiser

    def get_train_dataloader(self) -> DataLoader[Item]:
        """Batches of the sampler, sharded over processes by accelerate."""
        assert self.train_dataset is not None
        loader = DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=collate, pin_memory=torch.cuda.is_available())
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Item]:
        """The rows in their own order, batched by the token budget; give them sorted by length."""
        rows: TokenisedRows = eval_dataset if eval_dataset is not None else self.eval_dataset
        batches = batch_by_tokens(np.arange(len(rows)), rows.lengths, 4 * self.sampler.tokens_per_batch)
        loader = DataLoader(rows, batch_sampler=batches, collate_fn=collate)  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]


def build_trainer(
    model: MultiHeadClassifier,
    train_rows: TokenisedRows,
    train_sources: list[str],
    validation_rows: TokenisedRows,
    validation_languages: list[str],
    settings: TrainerSettings,
    folder: Path,
) -> BucketedTrainer:
    """A trainer that evaluates per language, keeps the best checkpoint by `settings.best_metric` and loads it at the end."""
    sampler = LengthBucketedBatches(
        train_rows.lengths.tolist(),
        train_sources,
        (train_rows.labels == 1).any(axis=1).tolist(),
        tokens_per_batch=settings.sampling.tokens_per_batch,
        max_negatives_per_source=settings.sampling.max_negatives_per_source,
        seed=settings.seed,
    )
    evaluation_steps = max(1, len(sampler) // settings.evaluations_per_epoch)
    if settings.max_steps > 0:
        evaluation_steps = min(evaluation_steps, settings.max_steps)
    total_steps = settings.max_steps if settings.max_steps > 0 else int(len(sampler) * settings.epochs)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=round(total_steps * settings.warmup_fraction),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        bf16=computes_in_bf16(settings.bf16),
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=evaluation_steps,
        save_strategy="steps",
        save_steps=evaluation_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{settings.best_metric}",
        greater_is_better=settings.best_metric != "loss",
        logging_steps=20,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )
    heads = list(model.config.heads)
    trainer = BucketedTrainer(
        model=model,
        args=arguments,
        train_dataset=train_rows,
        eval_dataset=validation_rows,
        data_collator=collate,
        compute_loss_func=compute_loss,
        compute_metrics=make_compute_metrics(validation_languages, heads),
        sampler=sampler,
        head_learning_rate=settings.head_learning_rate,
    )
    for printing in (ProgressCallback, PrinterCallback):  # theirs print every figure of every language
        trainer.remove_callback(printing)
    trainer.add_callback(LanguageProgress(settings.best_metric))
    return trainer


@torch.inference_mode()
def predict_logits(
    model: MultiHeadClassifier, rows: TokenisedRows, tokens_per_batch: int = 8192
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits (rows, heads) and sentence embeddings (rows, hidden) in the rows' order, computed in float32."""
    model = model.eval().float()
    order = np.argsort(rows.lengths, kind="stable")
    heads, hidden = len(model.config.heads), model.config.hidden_size
    logits = np.full((len(rows), heads), np.nan, dtype=np.float32)
    embeddings = np.full((len(rows), hidden), np.nan, dtype=np.float32)
    for batch in batch_by_tokens(order, rows.lengths, tokens_per_batch):
        inputs = collate([rows[index] for index in batch])
        output = model(inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device))
        logits[batch] = output.logits.cpu().numpy()
        embeddings[batch] = output.sentence_embedding.cpu().numpy()
    return logits, embeddings


def judged_rows(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Indices of rows with at least one judged head."""
    return np.flatnonzero((labels != MASKED).any(axis=1))
