"""The device's memory: how large a batch it holds, found by trying before training begins, and who keeps what a step has freed."""

import ctypes
import platform
from typing import Any

import torch
import torch.distributed
from accelerate.utils import send_to_device
from torch import nn

from data_prep.command import UserError
from train.tokenised import Item, collate, text_inputs

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let what a processor computes next have the memory that is freed now, until the process ends.

    As it comes, glibc returns a large tensor's memory to the system when the tensor is freed, and the system clears the memory of the
    next one page by page: some percent of a small encoder's step (benchmarks/train_step.py). Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)  # bytes; what is larger still comes and goes
        library.mallopt(_M_TRIM_THRESHOLD, -1)  # never


def batch_that_fits(
    model: nn.Module, tokens_per_batch: int, longest: int, device: torch.device, autocast: bool, packed: bool = False, passes: int = 1
) -> int:
    """The token budget, halved until a step of it, of so many forward passes, fits into the device's memory, with AdamW's state beside it.

    The hardest batch is tried: of the longest rows, whose attention matrices are the largest. The model's weights, gradients
    and random state are as before. All processes of a run get the smallest budget that any of them holds.

    Raises
    ------
    UserError
        If not even one row of the longest fits.
    """
    budget = tokens_per_batch
    model.to(device)
    while not _fits(model, max(1, budget // longest), longest, device, autocast, packed, passes):
        budget //= 2
        if budget < longest:
            raise UserError(
                f"a single row of {longest} tokens does not fit into the memory of {device}: use a smaller encoder, lora or a lower "
                "encoder.max_length"
            )
    if torch.distributed.is_initialized():
        agreed = torch.tensor([budget], device=device)
        torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MIN)
        budget = int(agreed)
    if budget < tokens_per_batch:
        print(f"batches of {tokens_per_batch:,} tokens do not fit into memory: {budget:,} at a time, and as many rows in a step as before")
    return budget


def _fits(model: nn.Module, rows: int, longest: int, device: torch.device, autocast: bool, packed: bool, passes: int) -> bool:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            state = [torch.empty_like(parameter) for parameter in model.parameters() for _ in range(2) if parameter.requires_grad]
            row: Item = {"input_ids": [5] * longest, "labels": [], "language": 0}
            batch = {name: send_to_device(part, device) for name, part in text_inputs(collate([row] * rows, packed)).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                logits: Any = sum(model.train()(**batch).logits for _ in range(passes))
            logits.float().sum().backward()
            del state
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            model.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()
