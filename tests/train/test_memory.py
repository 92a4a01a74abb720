"""A batch that the device cannot hold becomes smaller before training begins; what a step frees, the next one has."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from data_prep.command import UserError
from train.memory import batch_that_fits
from train.model import ClassifierOutput


class Small(nn.Module):
    """A device that holds so many tokens until a step ends: more is PyTorch's out-of-memory error."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens, self.held = tokens, 0
        self.embedding = nn.Embedding(10, 2)
        self.dropout = nn.Dropout(0.5)
        self.tried: list[tuple[int, int]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> ClassifierOutput:
        self.tried.append(tuple(input_ids.shape))
        self.held += input_ids.numel()
        if self.held > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ClassifierOutput(logits=self.dropout(self.embedding(input_ids)).mean(dim=1))

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.held = 0
        super().zero_grad(set_to_none)


def test_the_budget_is_halved_until_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    model = Small(tokens=300)
    before = (model.embedding.weight.clone(), torch.get_rng_state())
    assert batch_that_fits(model, 1024, 64, torch.device("cpu"), autocast=False) == 256
    assert model.tried == [(16, 64), (8, 64), (4, 64)]
    assert "256 at a time" in capsys.readouterr().out
    assert torch.equal(model.embedding.weight, before[0])
    assert torch.equal(torch.get_rng_state(), before[1]), "or the run would depend on what was tried"
    assert model.embedding.weight.grad is None


def test_a_step_of_two_passes_holds_half_as_much() -> None:
    assert batch_that_fits(Small(tokens=300), 1024, 64, torch.device("cpu"), autocast=False, passes=2) == 128


def test_what_fits_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch_that_fits(Small(tokens=5000), 1024, 64, torch.device("cpu"), autocast=False) == 1024
    assert not capsys.readouterr().out


def test_one_row_too_long_is_told() -> None:
    with pytest.raises(UserError, match="a single row of 64 tokens does not fit"):
        batch_that_fits(Small(tokens=10), 1024, 64, torch.device("cpu"), autocast=False)


FAULTS = """
import ctypes
import resource
import torch
from train.memory import keep_freed_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: small pages, whatever this machine prefers

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (9, 17, 13, 21) * 5:
        torch.ones(size, 1024, 256)  # of MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says what glibc does")
def test_freed_memory_is_there_for_the_next_step() -> None:
    run = subprocess.run([sys.executable, "-c", FAULTS], stdout=subprocess.PIPE, text=True, check=True)
    coming_and_going, kept = map(int, run.stdout.split())
    assert coming_and_going > 10_000, "otherwise there was nothing to keep"
    assert kept < coming_and_going / 100
