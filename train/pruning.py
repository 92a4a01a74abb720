"""Structured pruning: fewer inner neurons in an encoder's feed-forward networks, which fine-tuning then goes on with.

Those neurons go whose work the others can take over best, and they take it over: by least squares on what the neurons do for the
training texts, the rule of the Optimal Brain Surgeon (Hassibi and Stork 1993) for whole neurons, as ZipLM has it (Kurtic et al. 2023).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm import tqdm
from transformers import XLMRobertaModel

from train.encoding import encode
from train.sampling import batch_by_tokens
from train.tokenised import collate

_TEXTS = 2000  # in all, as many of every language, so that none is pruned away for another's sake
_TOKENS_PER_BATCH = 2048
_ROUNDS = 16  # in which neurons go; the fewer at a time, the better the choice and the longer it takes
_DAMPING = 1e-4  # of the neurons' mean square, added to each: what the texts do not tell apart stays as it is


@torch.no_grad()
def prune_feed_forward(model: XLMRobertaModel, tokenizer: Tokenizer, texts: Sequence[str], languages: Sequence[str], width: int) -> None:
    """Leave every layer's feed-forward network `width` inner neurons, in place; those of all layers are judged before any goes.

    Nothing is drawn at random but the texts, and those always alike: runs that are pruned before they learn anything keep the same
    neurons, and their weights can be averaged.

    Parameters
    ----------
    texts, languages
        The training texts, of which some two thousand are read, as many of each language.
    width
        At most the neurons that the encoder has.
    """
    order, spoken = np.random.default_rng(0).permutation(len(texts)), np.asarray(languages)
    share = -(-_TEXTS // len(np.unique(spoken)))
    read = [texts[index] for language in np.unique(spoken) for index in order[spoken[order] == language][:share]]
    moments = _second_moments(model, tokenizer, read)
    for layer, moment in zip(tqdm(model.encoder.layer, desc="pruning", unit=" layers", leave=False, disable=None), moments, strict=True):
        inner, outer = layer.intermediate.dense, layer.output.dense
        weights = torch.cat([outer.weight.T, outer.bias.unsqueeze(0)]).double().cpu()
        # an output matters as much as the normalisation behind it lets through
        kept, fitted = take_over(moment, weights, width, layer.output.LayerNorm.weight.double().abs().cpu())
        narrow_inner = nn.Linear(inner.in_features, width, device=model.device)
        narrow_outer = nn.Linear(width, outer.out_features, device=model.device)
        narrow_inner.weight.copy_(inner.weight[kept])
        narrow_inner.bias.copy_(inner.bias[kept])
        narrow_outer.weight.copy_(fitted[:-1].T)
        narrow_outer.bias.copy_(fitted[-1])
        layer.intermediate.dense, layer.output.dense = narrow_inner, narrow_outer
    model.config.intermediate_size = width


def take_over(moment: torch.Tensor, weights: torch.Tensor, width: int, importance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The `width` neurons that can best stand for all, and weights with which they do.

    Parameters
    ----------
    moment
        Mean products of every two neurons, the last of which is a constant 1 and stays: shape (neurons + 1, neurons + 1), float64.
    weights
        From neurons to outputs, the last row is the bias: shape (neurons + 1, outputs).
    importance
        How much an error of each output counts, shape (outputs,).

    Returns
    -------
    The neurons in ascending order, shape (width,), and their weights and bias, shape (width + 1, outputs).
    """
    neurons = len(moment) - 1
    damping = _DAMPING * moment.diagonal()[:-1].mean()
    damped = moment + damping * torch.eye(neurons + 1, dtype=moment.dtype)
    wanted = damped @ weights
    kept = torch.arange(neurons + 1)
    for left in np.linspace(neurons, width, _ROUNDS + 1).round().astype(int)[1:].tolist():
        inverse = torch.linalg.inv(damped[kept][:, kept])
        fitted = inverse @ wanted[kept]
        # what the outputs lose for good if this neuron goes and the others are fitted again
        loss = (fitted * importance).square().sum(dim=1) / inverse.diagonal()
        loss[-1] = torch.inf
        kept = kept[loss.topk(left + 1).indices.sort().values]
    return kept[:-1], torch.linalg.solve(damped[kept][:, kept], wanted[kept])


def _second_moments(model: XLMRobertaModel, tokenizer: Tokenizer, texts: Sequence[str]) -> list[torch.Tensor]:
    """Of each layer the mean products of every two inner neurons and a constant 1 over the texts' tokens, float64, on the processor."""
    model.eval()
    attention = model.config._attn_implementation
    model.set_attn_implementation("sdpa")  # training's may be one for rows without padding
    ids = encode(texts, tokenizer)
    lengths = np.asarray([len(row) for row in ids], dtype=np.int64)
    size = model.config.intermediate_size + 1
    sums = [torch.zeros(size, size, dtype=torch.float64, device=model.device) for _ in model.encoder.layer]
    mask = torch.empty(0)

    def add(total: torch.Tensor, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        neurons = nn.functional.pad(inputs[0][mask], (0, 1), value=1.0)
        total += neurons.T @ neurons

    hooks = [
        layer.output.dense.register_forward_pre_hook(partial(add, total)) for layer, total in zip(model.encoder.layer, sums, strict=True)
    ]
    batches = batch_by_tokens(np.argsort(lengths, kind="stable")[::-1], lengths, _TOKENS_PER_BATCH)
    for batch in tqdm(batches, desc="reading the inner neurons", unit=" batches", leave=False, disable=None):
        inputs = collate([{"input_ids": ids[index], "labels": [], "language": 0} for index in batch])
        mask = inputs["attention_mask"].bool().to(model.device)
        model(inputs["input_ids"].to(model.device), mask)
    for hook in hooks:
        hook.remove()
    model.set_attn_implementation(attention)
    return [(total / total[-1, -1]).cpu() for total in sums]
