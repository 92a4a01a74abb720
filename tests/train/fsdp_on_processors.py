"""`python tests/train/fsdp_on_processors.py <overrides>`: `python -m train` with a model in shards where there is no GPU.

accelerate shards models on accelerators alone and gives processors whole copies; torch's FSDP itself runs on both. So accelerate is
told here that its processors are to shard, and waits for what it has gathered, as a copy from a GPU would.
"""

import runpy
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

begin, gather = AcceleratorState.__init__, Accelerator.get_state_dict
in_shards: list[bool] = []  # of each model that was gathered for a checkpoint


def begin_with_shards(state: AcceleratorState, *arguments: Any, **options: Any) -> None:
    """As if the processes had a GPU each, as far as sharding is concerned."""
    first = not AcceleratorState._shared_state
    begin(state, *arguments, **options)
    if first:
        state.fsdp_plugin = options["fsdp_plugin"]
        state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def gather_and_wait(accelerator: Accelerator, model: Any, *arguments: Any, **options: Any) -> Any:
    """Tensors that have arrived."""
    in_shards.append(any(isinstance(parameter, DTensor) for parameter in model.parameters()))
    return {name: tensor.clone() for name, tensor in gather(accelerator, model, *arguments, **options).items()}


if __name__ == "__main__":
    AcceleratorState.__init__ = begin_with_shards
    Accelerator.get_state_dict = gather_and_wait
    runpy.run_module("train", run_name="__main__", alter_sys=True)
    if not in_shards or not all(in_shards):
        raise SystemExit("accelerate gave the processes whole copies: this shows nothing of shards")
