"""What the processes of one run (torchrun, accelerate launch) have to agree on."""

import os
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Value = TypeVar("Value")


def is_main_process() -> bool:
    """Whether this process writes and prints for the others; true for a process on its own."""
    return int(os.environ.get("RANK", "0")) == 0


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def agree(value: Value) -> Value:
    """The main process's value, in every process."""
    if process_count() == 1:
        return value
    if torch.cuda.is_available():
        PartialState()
    else:
        PartialState(cpu=True, backend="gloo")
    agreed = [value]
    broadcast_object_list(agreed)
    return agreed[0]
