"""Structured pruning: fewer inner neurons and attention heads in an encoder's layers, which fine-tuning then goes on with.

Those go whose work the others can take over best, and they take it over: by least squares on what they do for the training texts, the
rule of the Optimal Brain Surgeon (Hassibi and Stork 1993) for whole neurons and heads, as ZipLM has it (Kurtic et al. 2023).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm import tqdm
from transformers import XLMRobertaModel

from train.encoding import encode
from train.sampling import batch_by_tokens
from train.tokenised import collate

_TEXTS = 2000  # in all, as many of every language, so that nothing is pruned away for another's sake
_TOKENS_PER_BATCH = 2048
_ROUNDS = 16  # in which neurons go; the fewer at a time, the better the choice and the longer it takes
_DAMPING = 1e-4  # of the neurons' mean square, added to each: what the texts do not tell apart stays as it is


@torch.no_grad()
def prune(
    model: XLMRobertaModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    languages: Sequence[str],
    feed_forward: int | None = None,
    attention_heads: int | None = None,
) -> None:
    """Leave every layer so many inner neurons and attention heads, in place; those of all layers are judged before any goes.

    Nothing is drawn at random but the texts, and those always alike: the same weights keep the same neurons and heads.

    Parameters
    ----------
    texts, languages
        The training texts, of which some two thousand are read, as many of each language.
    feed_forward, attention_heads
        At most what the encoder has; None leaves all.
    """
    order, spoken = np.random.default_rng(0).permutation(len(texts)), np.asarray(languages)
    share = -(-_TEXTS // len(np.unique(spoken)))
    read = [texts[index] for language in np.unique(spoken) for index in order[spoken[order] == language][:share]]
    feeds = [layer.output for layer in model.encoder.layer] if feed_forward is not None else []
    attentions = [layer.attention.output for layer in model.encoder.layer] if attention_heads is not None else []
    moments = _second_moments(model, tokenizer, read, [block.dense for block in (*feeds, *attentions)])
    for layer in tqdm(model.encoder.layer, desc="pruning", unit=" layers", leave=False, disable=None):
        if feed_forward is not None:
            kept = _leave_inputs(layer.output, moments[layer.output.dense], feed_forward)
            layer.intermediate.dense = _of_outputs(layer.intermediate.dense, kept)
        if attention_heads is not None:
            width = layer.attention.self.attention_head_size
            kept = _leave_inputs(layer.attention.output, moments[layer.attention.output.dense], attention_heads * width, width)
            _leave_heads(layer.attention.self, kept)
    model.config.intermediate_size = feed_forward or model.config.intermediate_size
    model.config.attention_heads = attention_heads


def first_heads(model: XLMRobertaModel, attention_heads: int) -> None:
    """Leave every layer's attention its first so many heads, in place: the shape of a pruned encoder, for weights to be read into."""
    for layer in model.encoder.layer:
        kept = torch.arange(attention_heads * layer.attention.self.attention_head_size)
        _leave_heads(layer.attention.self, kept)
        outer = layer.attention.output.dense
        layer.attention.output.dense = _linear(outer.weight[:, kept], outer.bias)


def take_over(
    moment: torch.Tensor, weights: torch.Tensor, width: int, importance: torch.Tensor, together: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `width` neurons that can best stand for all, and weights with which they do.

    Parameters
    ----------
    moment
        Mean products of every two neurons, the last of which is a constant 1 and stays: shape (neurons + 1, neurons + 1), float64.
    weights
        From neurons to outputs, the last row is the bias: shape (neurons + 1, outputs).
    importance
        How much an error of each output counts, shape (outputs,).
    together
        So many neighbouring neurons, a head's, stay or go as one; `width` and their number are multiples of it.

    Returns
    -------
    The neurons in ascending order, shape (width,), and their weights and bias, shape (width + 1, outputs).
    """
    neurons = len(moment) - 1
    damping = _DAMPING * moment.diagonal()[:-1].mean()
    damped = moment + damping * torch.eye(neurons + 1, dtype=moment.dtype)
    wanted = damped @ weights
    constant = torch.tensor([neurons])
    kept = torch.arange(neurons)
    for left in np.linspace(neurons // together, width // together, _ROUNDS + 1).round().astype(int)[1:].tolist():
        rows = torch.cat([kept, constant])
        inverse = torch.linalg.inv(damped[rows][:, rows])
        units = len(kept) // together
        fitted = (inverse @ wanted[rows])[:-1].reshape(units, together, -1)
        blocks = inverse[:-1, :-1].reshape(units, together, units, together).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        # what the outputs lose for good if these go and the others are fitted again
        loss = (fitted * torch.linalg.solve(blocks, fitted) * importance.square()).sum(dim=(1, 2))
        kept = kept.reshape(units, together)[loss.topk(left).indices.sort().values].flatten()
    rows = torch.cat([kept, constant])
    return kept, torch.linalg.solve(damped[rows][:, rows], wanted[rows])


def _leave_inputs(block: Any, moment: torch.Tensor, width: int, together: int = 1) -> torch.Tensor:
    """Let the linear layer of a layer's `output` read fewer neurons, which stand for the others; returns those that stay."""
    outer = block.dense
    weights = torch.cat([outer.weight.T, outer.bias.unsqueeze(0)]).double().cpu()
    # an output matters as much as the normalisation behind it lets through
    kept, fitted = take_over(moment, weights, width, block.LayerNorm.weight.double().abs().cpu(), together)
    block.dense = _linear(fitted[:-1].T.to(outer.weight), fitted[-1].to(outer.weight))
    return kept


def _leave_heads(attention: Any, kept: torch.Tensor) -> None:
    """Queries, keys and values of these neurons alone, those of whole heads."""
    for name in ("query", "key", "value"):
        setattr(attention, name, _of_outputs(getattr(attention, name), kept))
    attention.all_head_size = len(kept)
    attention.num_attention_heads = len(kept) // attention.attention_head_size


def _of_outputs(linear: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(linear.weight[kept], linear.bias[kept])


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = (nn.Parameter(values.detach().clone(memory_format=torch.contiguous_format)) for values in (weight, bias))
    return linear


def _second_moments(
    model: XLMRobertaModel, tokenizer: Tokenizer, texts: Sequence[str], readers: Sequence[nn.Linear]
) -> dict[nn.Linear, torch.Tensor]:
    """Mean products over the texts' tokens of every two inputs of each linear layer and a constant 1: float64, on the processor."""
    model.eval()
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa")  # training's may be one for rows without padding
    ids = encode(texts, tokenizer)
    lengths = np.asarray([len(row) for row in ids], dtype=np.int64)
    sums = {
        reader: torch.zeros(reader.in_features + 1, reader.in_features + 1, dtype=torch.float64, device=model.device) for reader in readers
    }
    mask = torch.empty(0)

    def add(total: torch.Tensor, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        neurons = nn.functional.pad(inputs[0][mask], (0, 1), value=1.0)
        total += neurons.T @ neurons

    hooks = [reader.register_forward_pre_hook(partial(add, total)) for reader, total in sums.items()]
    batches = batch_by_tokens(np.argsort(lengths, kind="stable")[::-1], lengths, _TOKENS_PER_BATCH)
    for batch in tqdm(batches, desc="reading the inner neurons", unit=" batches", leave=False, disable=None):
        inputs = collate([{"input_ids": ids[index], "labels": [], "language": 0} for index in batch])
        mask = inputs["attention_mask"].bool().to(model.device)
        model(inputs["input_ids"].to(model.device), mask)
    for hook in hooks:
        hook.remove()
    model.set_attn_implementation(attention)
    return {reader: (total / total[-1, -1]).cpu() for reader, total in sums.items()}
