"""Attention without padding: the rows of a batch lie one after the other, and each attends to itself alone.

On a GPU in bfloat16 this is PyTorch's variable-length flash attention. Elsewhere a mask that keeps the rows apart gives the same
numbers at a cost that grows with the square of the batch: good for checking, not for training.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface

Ids = Sequence[int] | npt.NDArray[np.integer[Any]]  # of a row's tokens
PACKED = "packed"  # the name under which transformers knows it


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed rows, as transformers calls it.

    Parameters
    ----------
    query, key, value
        Shape (1, heads, tokens, dimension).
    cu_seq_lens_q
        Where each row begins, and the number of tokens: shape (rows + 1,), int32.
    max_length_q
        At least the length of the longest row.

    Returns
    -------
    Shape (1, tokens, heads, dimension).
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
        mixed = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, scale=scaling)
        assert isinstance(mixed, torch.Tensor)
        return mixed[None], None
    rows = torch.arange(len(cu_seq_lens_q) - 1, device=query.device)
    rows = rows.repeat_interleave(cu_seq_lens_q.diff(), output_size=query.shape[2])
    apart = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows[:, None] == rows[None, :], scale=scaling)
    return apart.transpose(1, 2), None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)


def pack(rows: Sequence[Ids], first_position: int) -> dict[str, Any]:
    """The arguments of a packed encoder for rows of token ids, under transformers' names.

    Made on the processor, where the lengths are known: a GPU would have to be waited for to tell them.

    Parameters
    ----------
    first_position
        The position embedding of a row's first token (XLM-R counts from its padding index on).

    Returns
    -------
    `input_ids` and `position_ids` of shape (1, tokens), and `cu_seq_lens_q` and `max_length_q` as `packed_attention` takes them.
    """
    lengths = [len(row) for row in rows]
    positions = np.concatenate([np.arange(length) for length in lengths])
    return {
        "input_ids": torch.from_numpy(np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]))[None],
        "position_ids": torch.from_numpy(positions + first_position)[None],
        "cu_seq_lens_q": torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)),
        "max_length_q": max(lengths),
    }
