"""Attention without padding: the rows of a batch lie one after the other, and each attends to itself alone.

On a GPU in bfloat16 this is PyTorch's variable-length flash attention. Elsewhere a mask that keeps the rows apart gives the same
numbers at a cost that grows with the square of the batch: good for checking, not for training.
"""

from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface

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
    rows = torch.arange(len(cu_seq_lens_q) - 1, device=query.device).repeat_interleave(cu_seq_lens_q.diff())
    apart = functional.scaled_dot_product_attention(query, key, value, attn_mask=rows[:, None] == rows[None, :], scale=scaling)
    return apart.transpose(1, 2), None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, first_position: int) -> tuple[dict[str, Any], torch.Tensor]:
    """The arguments of a packed encoder for padded rows, and the row that each of its tokens belongs to, shape (tokens,).

    Parameters
    ----------
    input_ids, attention_mask
        Shape (rows, sequence); padding is on the right.
    first_position
        The position embedding of a row's first token (XLM-R counts from its padding index on).
    """
    kept = attention_mask.bool()
    lengths = kept.sum(dim=1)
    starts = functional.pad(lengths.cumsum(dim=0), (1, 0)).to(torch.int32)
    positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)[kept] + first_position
    arguments = {
        "input_ids": input_ids[kept][None],
        "position_ids": positions[None],
        "cu_seq_lens_q": starts,
        "max_length_q": input_ids.shape[1],
    }
    return arguments, torch.arange(len(lengths), device=input_ids.device).repeat_interleave(lengths)
