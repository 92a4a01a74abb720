"""What the processes of one run (torchrun, accelerate launch) have to agree on."""

import copy
import os
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from train.model import MultiHeadClassifier

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


def whole(model: MultiHeadClassifier) -> MultiHeadClassifier:
    """The model itself; of one that FSDP has left in shards, a copy that every process has whole."""
    if not hasattr(model, "unshard"):  # which FSDP adds to a module
        return model
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    gathered: MultiHeadClassifier = MultiHeadClassifier._from_config(copy.deepcopy(model.config)).to(model.device)
    gathered.load_state_dict(weights)
    return gathered
