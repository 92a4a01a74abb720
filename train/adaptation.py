"""Domain-adaptive pre-training: before fine-tuning, the encoder goes on with masked-language modelling on the posts' own words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    PrinterCallback,
    ProgressCallback,
    TrainingArguments,
    XLMRobertaModel,
)

from data_prep.command import UserError
from train.checkpoints import SafeStops
from train.encoder import Encoder
from train.progress import LanguageProgress
from train.sampling import LengthBucketedBatches
from train.settings import TrainSettings
from train.tokenised import Item, TokenisedRows
from train.trainer import LengthBucketedTrainer, shared_arguments


class MaskedLanguageModel(nn.Module):
    """The encoder with a fresh masked-language head, whose output matrix is the word embeddings'.

    The head is not the published one: folding and trimming change the vocabulary, and the packaged encoder has none.
    """

    def __init__(self, encoder: XLMRobertaModel) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean cross-entropy of the masked pieces; ids, mask and labels have shape (batch, sequence), -100 is not asked for."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        asked = labels != -100  # one piece in seven: the product with the whole vocabulary is computed for those alone
        guessed = self.norm(functional.gelu(self.dense(hidden[asked])))
        logits = functional.linear(guessed, self.encoder.embeddings.word_embeddings.weight, self.bias).float()
        return {"loss": functional.cross_entropy(logits, labels[asked], reduction="sum") / asked.sum().clamp(min=1)}


class MaskingCollator:
    """Pads a batch of `Item`s and masks pieces as BERT did (80% mask, 10% another piece, 10% as they are)."""

    def __init__(self, tokenizer: Tokenizer, share: float) -> None:
        names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
        self.mask = DataCollatorForLanguageModeling(wrapped, mlm_probability=share)

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and `labels`, each of shape (batch, sequence)."""
        ids = [{"input_ids": np.asarray(item["input_ids"]).tolist(), "attention_mask": [1] * len(item["input_ids"])} for item in items]
        return dict(self.mask(ids))


def build_adaptation(
    encoder: Encoder, rows: TokenisedRows, sources: list[str], settings: TrainSettings, folder: Path
) -> LengthBucketedTrainer:
    """A trainer that adapts the encoder's weights in place; its checkpoints are in `folder`.

    Raises
    ------
    UserError
        If the share of masked pieces is not within (0, 1), or the encoder has no mask piece.
    """
    recipe, sampling = settings.adaptation, replace(settings.trainer.sampling, max_negatives_per_source=None)
    if not 0 < recipe.masked_share < 1:
        raise UserError(f"adaptation.masked_share={recipe.masked_share} is no share: use more than 0 and less than 1")
    if encoder.tokenizer.token_to_id("<mask>") is None:
        raise UserError(f"the encoder {settings.encoder.name} has no <mask> piece: set adaptation.epochs=0")
    arguments = TrainingArguments(
        **shared_arguments(settings.trainer, folder),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        save_strategy="no",  # SafeStops saves by the clock
        report_to=[],
    )
    sampler = LengthBucketedBatches(
        rows.lengths.tolist(),
        sources,
        rows.languages,
        rows.labels,
        settings=sampling,
        seed=settings.trainer.seed,
        multiple_of=arguments.world_size * settings.trainer.gradient_accumulation,
    )
    steps = len(sampler) // (arguments.world_size * settings.trainer.gradient_accumulation) * recipe.epochs
    arguments.warmup_steps = round((arguments.max_steps if arguments.max_steps > 0 else steps) * settings.trainer.warmup_fraction)
    for module in encoder.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # masking is noise enough, and dropout costs time (train/model.py)
    if not torch.cuda.is_available():
        encoder.model.set_attn_implementation("eager")  # the faster one on processors (train/model.py)
    trainer = LengthBucketedTrainer(
        model=MaskedLanguageModel(encoder.model),
        args=arguments,
        train_dataset=rows,
        data_collator=MaskingCollator(encoder.tokenizer, recipe.masked_share),
        callbacks=[LanguageProgress(settings.trainer.best_metric), SafeStops(settings.trainer.checkpoint_minutes, nn.Identity())],
        sampler=sampler,
    )
    for printing in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(printing)
    return trainer
