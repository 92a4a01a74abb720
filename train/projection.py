"""The sentence embedding: a projection of the encoder's vector that brings edited copies of a post together.

The classifier's own features will not do: they are made to tell heads apart, and two unlike posts of one kind lie close.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from train.edits import RE_POST_EDITS
from train.encoding import encode
from train.model import MultiHeadClassifier
from train.sampling import batch_by_tokens
from train.settings import ProjectionSettings
from train.tokenised import collate


def add_projection(
    model: MultiHeadClassifier,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    settings: ProjectionSettings,
    seed: int,
) -> None:
    """Train a projection and give it to the model, whose encoder and heads stay as they are.

    Every text meets one of its edited copies (`train.edits.RE_POST_EDITS`) among the other texts of a batch: InfoNCE in both
    directions (van den Oord et al. 2018; Radford et al. 2021).

    Parameters
    ----------
    texts
        At most `settings.texts` of them are drawn.
    """
    rng = np.random.default_rng(seed)
    distinct = sorted(set(texts))
    chosen = [distinct[index] for index in rng.permutation(len(distinct))[: settings.texts]]
    edits = list(RE_POST_EDITS.values())
    drawn = rng.integers(len(edits), size=(2, len(chosen)))
    copies = [[edits[place](text) for text, place in zip(chosen, places, strict=True)] for places in drawn.tolist()]
    originals, *edited = (torch.from_numpy(pooled_vectors(model, tokenizer, group)) for group in (chosen, *copies))

    # In whitened space all directions learn at one pace; the projection starts there as the texts' principal components.
    mean = originals.mean(dim=0)
    _, spread, axes = torch.linalg.svd(originals - mean, full_matrices=False)
    floor = 0.01 * float(spread[0])  # what hardly varies is noise, not news
    whitening = axes / spread.clamp(min=floor).unsqueeze(1) * len(originals) ** 0.5
    white = [(vectors - mean) @ whitening.T for vectors in (originals, *edited)]
    dimension = min(settings.dimension, originals.shape[1])
    turned = nn.Parameter(torch.eye(dimension, len(whitening)) * (spread / spread[0]).clamp(min=0.01))
    optimiser = torch.optim.Adam([turned], settings.learning_rate)
    for _ in tqdm(range(settings.steps), desc="embedding", unit=" steps", leave=False, disable=None):
        batch = torch.from_numpy(rng.permutation(len(chosen))[: settings.batch])
        copy = white[1 + int(rng.integers(len(edited)))]
        here, there = (functional.normalize(vectors[batch] @ turned.T, dim=-1) for vectors in (white[0], copy))
        similarity = here @ there.T / settings.temperature
        own = torch.arange(len(batch))
        loss = (functional.cross_entropy(similarity, own) + functional.cross_entropy(similarity.T, own)) / 2
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    projection = nn.Linear(originals.shape[1], dimension)
    with torch.no_grad():
        projection.weight.copy_(turned @ whitening)
        projection.bias.copy_(-projection.weight @ mean)
    model.config.embedding_dimension = dimension
    model.projection = projection.requires_grad_(False).to(model.device)


@torch.inference_mode()
def pooled_vectors(
    model: MultiHeadClassifier, tokenizer: Tokenizer, texts: Sequence[str], tokens_per_batch: int = 8192
) -> npt.NDArray[np.float32]:
    """The encoder's sentence vector of every text, shape (texts, hidden)."""
    model = model.eval().float()
    ids = encode(texts, tokenizer)
    lengths = np.asarray([len(row) for row in ids], dtype=np.int64)
    vectors = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    batches = batch_by_tokens(np.argsort(lengths, kind="stable")[::-1], lengths, tokens_per_batch)
    for batch in tqdm(batches, desc="embedding", unit=" batches", leave=False, disable=None):
        inputs = collate([{"input_ids": ids[index].tolist(), "labels": [], "language": 0} for index in batch])
        pooled = model.pooled(inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device))
        vectors[batch] = pooled.float().cpu().numpy()
    return vectors
