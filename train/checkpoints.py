"""A run survives what ends it: signals, a full disk, a kill at any moment, a checkpoint that was cut short.

A checkpoint counts only once it is sealed: a list of its files' hashes is written last. Resuming goes on from the newest
checkpoint whose files are what the list says, so one that was cut short or damaged costs the steps since the one before.
"""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from data_prep.command import UserError
from data_prep.files import read_json, sha256, write_json

SEAL = "sealed.json"
LOSS = "loss.safetensors"
CLOCK = "seconds.json"  # beside the checkpoints: how long the training took up to the newest
STOPPING = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "an interrupt"}


def seal(checkpoint: Path) -> None:
    """Write the hashes of a checkpoint's files into it."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != SEAL)
    write_json(checkpoint / SEAL, {path.name: sha256(path) for path in files})


def is_whole(checkpoint: Path) -> bool:
    """Whether the checkpoint was sealed, and its files are those of the seal and no others."""
    try:
        hashes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(hashes, dict) or not hashes:
        return False
    # a file that the seal does not know has no business there: Trainer would load weights by the names it looks for
    found = {path.name for path in checkpoint.iterdir() if path.name != SEAL}
    return found == hashes.keys() and all(sha256(checkpoint / name) == digest for name, digest in hashes.items())


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to go on from, or None to begin anew; says which damaged ones are passed over.

    Raises
    ------
    UserError
        If there are checkpoints and none is whole: starting over in silence would hide what happened.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in checkpoints:
        if is_whole(checkpoint):
            return checkpoint
        print(f"{checkpoint} is incomplete or damaged: going on from the one before")
    if any((checkpoint / SEAL).is_file() for checkpoint in checkpoints):
        raise UserError(f"every checkpoint in {folder} is damaged: remove the run folder {folder.parent} and train again")
    return None


def trained_seconds(checkpoints: Path) -> float:
    """How long the training of these checkpoints took up to the newest; 0 if an earlier version, which did not say, made them."""
    clock = checkpoints / CLOCK
    return float(read_json(clock)["seconds"]) if clock.is_file() else 0.0


def spent_seconds(checkpoints: Path) -> float:
    """How long all trainings of a run took, each up to its newest checkpoint; 0 before there is any."""
    return sum(trained_seconds(clock.parent) for clock in checkpoints.rglob(CLOCK))


class SafeStops(TrainerCallback):
    """Saves every few minutes, seals what is saved, and on a signal saves and stops at the end of the step."""

    def __init__(self, minutes: float, loss: nn.Module) -> None:
        self.interval = 60 * minutes
        self.loss = loss  # Trainer does not know that a loss can have a state
        self.signal: int | None = None
        self._asked = 0.0  # when this process was first asked to stop
        self._saved = time.monotonic()
        self._earlier = 0.0  # seconds, before it was resumed
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How long the training took, up to a checkpoint that it was resumed from and since; steps lost in between are not counted."""
        return self._earlier + (time.monotonic() - self._began if self._began else 0.0)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within, SIGTERM and an interrupt stop the training at the end of its step; a second interrupt, a second later, the process."""
        self._began = time.monotonic()
        before = {number: signal.signal(number, self._on_signal) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # a launcher hands on what the process itself got a moment before; somebody who asks again, later, means at once
        if self._asked and number == signal.SIGINT and time.monotonic() - self._asked > 1:
            raise KeyboardInterrupt
        self._asked = self._asked or time.monotonic()
        self.signal = self.signal or number

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint when it is time or a signal came; all processes of a run decide alike."""
        stop, save = self.signal or 0, int(time.monotonic() - self._saved > self.interval)
        if args.world_size > 1:  # alone, a GPU would be waited for at every step
            wishes = torch.tensor([stop, save], device=args.device)
            torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX)
            stop, save = wishes.tolist()
        if stop:
            self.signal = int(stop)
            control.should_training_stop = True
        if stop or save:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seal the checkpoint."""
        self._saved = time.monotonic()
        if args.world_size > 1:
            torch.distributed.barrier()  # the others' random states are in it too
        if state.is_world_process_zero:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            if self.loss.state_dict():
                save_file(self.loss.state_dict(), checkpoint / LOSS)
            write_json(checkpoint.parent / CLOCK, {"seconds": self.seconds})  # first: whoever goes on from the checkpoint reads it
            seal(checkpoint)

    def restore(self, checkpoint: Path) -> None:
        """Give the loss the state that it had, and count the time from where it was."""
        self._earlier = trained_seconds(checkpoint.parent)
        if self.loss.state_dict():
            self.loss.load_state_dict(load_file(checkpoint / LOSS))
