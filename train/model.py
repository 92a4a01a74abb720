"""The classifier: an XLM-R encoder, mean or first-token pooling, one logit per head, n-grams, and an embedding to find copies by."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaPreTrainedModel
from transformers.utils import ModelOutput, logging

from train.encoder import Encoder
from train.ngrams import PieceNgrams
from train.pruning import first_heads

# weights that are left out and bars for loading a file are not news to a user
logging.set_verbosity_error()
logging.disable_progress_bar()


class ClassifierConfig(XLMRobertaConfig):
    """XLM-R's configuration plus the heads' names in logit order, the pooling and the heads' dropout."""

    model_type = "multilingual-propaganda-classifier"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["sentence_embedding"]
    heads: list[str] | None = None
    pooling: str = "mean"
    head_dropout: float = 0.1
    embedding_dimension: int | None = None  # of the sentence embedding; None: the pooled vector itself
    ngram_buckets: int | None = None  # None: the encoder alone
    attention_heads: int | None = None  # left in each layer by pruning, as wide as they were; None: all


@dataclass
class ClassifierOutput(ModelOutput):
    """`logits` of shape (batch, heads), and the L2-normalised `sentence_embedding` of shape (batch, dimension)."""

    logits: torch.Tensor | None = None
    sentence_embedding: torch.Tensor | None = None


class MultiHeadClassifier(XLMRobertaPreTrainedModel):
    """Independent binary heads over one pooled sentence vector."""

    config_class = ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        if config.pooling not in ("mean", "first"):
            raise ValueError(f"pooling must be mean or first, not {config.pooling}")
        self.roberta = XLMRobertaModel(config, add_pooling_layer=False)
        if config.attention_heads is not None:
            first_heads(self.roberta, config.attention_heads)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.heads or []))
        if config.embedding_dimension is not None:
            self.projection = nn.Linear(config.hidden_size, config.embedding_dimension)
        self.ngrams: PieceNgrams | None = None
        if config.ngram_buckets is not None:
            self.ngrams = PieceNgrams(config.ngram_buckets, len(config.heads or []))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        max_length_q: int | None = None,
    ) -> ClassifierOutput:
        """Classify token ids (batch, sequence) with their mask, or what `train.packing.pack` makes of rows without padding.

        `labels` are the loss function's business, not the model's.
        """
        if cu_seq_lens_q is None:
            assert attention_mask is not None
            pooled = self.pooled(input_ids, attention_mask)
        else:
            assert self.ngrams is None  # only training packs rows, and they are fitted after it
            pooled = self._pooled_packed(input_ids, position_ids, cu_seq_lens_q, max_length_q)
        # Pooling and heads run in float32 also under bfloat16 autocast: sentence vectors of one encoder lie close
        # together, and 8 bits of mantissa blur what tells them apart.
        # the linear layer written out, because autocast would cast a matrix product
        logits = (self.dropout(pooled).unsqueeze(1) * self.classifier.weight).sum(dim=-1) + self.classifier.bias
        if self.ngrams is not None:
            assert attention_mask is not None
            logits = logits + self.ngrams(input_ids, attention_mask)
        # the embedding has a training of its own (train/projection.py), which leaves the encoder alone
        embedding = pooled if self.config.embedding_dimension is None else self.projection(pooled)
        return ClassifierOutput(logits=logits, sentence_embedding=nn.functional.normalize(embedding, dim=-1))

    def use_ngrams(self, ngrams: PieceNgrams | None) -> None:
        """Add what n-grams say to the logits, or nothing any more; they are saved with the model."""
        self.ngrams = None if ngrams is None else ngrams.to(self.device)
        self.config.ngram_buckets = None if ngrams is None else len(ngrams.weight)

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The sentence vector that the heads and the projection read, shape (batch, hidden), in float32."""
        hidden: torch.Tensor = self.roberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.config.pooling == "first":
            return hidden[:, 0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        # a row of padding only has no token to average: its sum is 0, and so is its mean
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    def _pooled_packed(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor | None, cu_seq_lens_q: torch.Tensor, max_length_q: int | None
    ) -> torch.Tensor:
        packed = {"position_ids": position_ids, "cu_seq_lens_q": cu_seq_lens_q, "max_length_q": max_length_q}
        hidden: torch.Tensor = self.roberta(input_ids=input_ids, **packed).last_hidden_state[0].float()
        starts = cu_seq_lens_q.long()
        if self.config.pooling == "first":
            return hidden[starts[:-1]]
        # the number of tokens is given, or a GPU would be asked for it and waited for
        row = torch.arange(len(starts) - 1, device=hidden.device).repeat_interleave(starts.diff(), output_size=len(hidden))
        sums = torch.zeros(len(starts) - 1, hidden.shape[1], device=hidden.device).index_add(0, row, hidden)
        return sums / starts.diff().unsqueeze(-1)


def build_classifier(encoder: Encoder, heads: list[str], pooling: str, dropout: float) -> MultiHeadClassifier:
    """A classifier with the encoder's weights and freshly initialised heads."""
    values = encoder.model.config.to_dict()
    values.pop("model_type", None)
    # Dropout before the heads only: inside the encoder it costs about a sixth of a processor's step, and in a trial on the
    # sample (rates 1e-4 and 1e-3) the packaged encoder collapsed to nearly one vector for all texts with it, not without.
    values.update(heads=heads, pooling=pooling, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, head_dropout=dropout)
    values.pop("architectures", None)
    # On processors the fused kernel's backward pass is slower than plain matrix products (benchmarks/train_step.py).
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    model = MultiHeadClassifier._from_config(ClassifierConfig(**values), attn_implementation=attention)
    model.roberta.load_state_dict(encoder.model.state_dict(), assign=True)  # the weights themselves, not a second copy of them
    return cast(MultiHeadClassifier, model)
