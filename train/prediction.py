"""A classifier's scores for tokenised rows; apart from the trainer, which takes seconds to import and few readers of runs need."""

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import send_to_device
from tqdm import tqdm

from train.memory import keep_freed_memory
from train.model import MultiHeadClassifier
from train.packing import PACKED
from train.sampling import batch_by_tokens
from train.tokenised import TokenisedRows, collate, text_inputs


@torch.no_grad()  # in inference mode, what FSDP gathers of a model's shards could not be trained on afterwards
def predict_logits(
    model: MultiHeadClassifier, rows: TokenisedRows, tokens_per_batch: int | None = None, share: tuple[int, int] = (0, 1)
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits (rows, heads) and sentence embeddings (rows, dimension) in the rows' order, computed in float32 unless under autocast.

    Without `tokens_per_batch`, batches hold 8,192 padded tokens, on a processor 2,048, which stay in its caches. `share` (k, n)
    computes every n-th batch from the k-th on, for one of n processes; the other rows stay NaN.
    """
    model = model.eval().float()
    on_processor = model.device.type == "cpu"
    if on_processor:
        keep_freed_memory()
    budget = tokens_per_batch or (2048 if on_processor else 8192)
    order = np.argsort(rows.lengths, kind="stable")[::-1]  # the longest first: memory trouble shows early
    heads, hidden = len(model.config.heads), model.config.embedding_dimension or model.config.hidden_size
    logits = np.full((len(rows), heads), np.nan, dtype=np.float32)
    embeddings = np.full((len(rows), hidden), np.nan, dtype=np.float32)
    batches = batch_by_tokens(order, rows.lengths, budget)
    while len(batches) % share[1]:
        batches.append(batches[-1])  # processes with shards of one model need each other in every forward pass
    batches = batches[share[0] :: share[1]]
    for batch in tqdm(batches, desc="scoring", unit=" batches", leave=False, disable=None):
        inputs = text_inputs(collate([rows[index] for index in batch], packed=model.config._attn_implementation == PACKED))
        output = model(**send_to_device(inputs, model.device))
        logits[batch] = output.logits.float().cpu().numpy()
        embeddings[batch] = output.sentence_embedding.float().cpu().numpy()
    return logits, embeddings
