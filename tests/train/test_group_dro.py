"""Group DRO on several processes: one set of weights, and the step that one process would make."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from train.labels import MASKED
from train.loss import MaskedLoss
from train.settings import LossSettings

SIZES = torch.tensor([[60.0, 30.0], [9.0, 20.0]])


def build() -> MaskedLoss:
    settings = LossSettings(dro_step=0.3, dro_adjustment=1.0)
    return MaskedLoss(settings, ["a", "b"], SIZES, SIZES, torch.tensor([20.0, 20.0]))


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (12, 2), generator=generator)
    labels[3, 0] = labels[8, 1] = MASKED
    return torch.randn(12, 2, generator=generator), labels, torch.arange(12) // 8


def three_steps(rows: slice) -> dict[str, list[float]]:
    """The weights and the gradient after three steps on a part of the batch; `cells` are those of the whole batch."""
    loss, (logits, labels, languages) = build(), batch()
    logits.requires_grad_()
    for _ in range(3):
        value = loss(logits[rows], labels[rows], languages[rows], (labels != MASKED).sum())
    (gradient,) = torch.autograd.grad(value, logits)
    return {"weights": loss.group_weights.flatten().tolist(), "gradient": gradient.flatten().tolist()}


PROCESS = """
import importlib.util, json, sys
import torch.distributed
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
rank = int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=2)
print(json.dumps(shared.three_steps((slice(0, 5), slice(5, 12))[rank])))
torch.distributed.destroy_process_group()
"""


def test_two_processes_make_the_step_of_one(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", PROCESS, __file__, str(rank), str(tmp_path / "meeting")] for rank in range(2)]
    begun = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    ended = [process.communicate(timeout=120) for process in begun]
    assert [process.returncode for process in begun] == [0, 0], ended
    one, two = (json.loads(output.splitlines()[-1]) for output, _ in ended)
    alone = three_steps(slice(0, 12))
    assert one["weights"] == two["weights"] == pytest.approx(alone["weights"], rel=1e-5)
    together = [a + b for a, b in zip(one["gradient"], two["gradient"], strict=True)]
    assert together == pytest.approx(alone["gradient"], rel=1e-4, abs=1e-7)
    assert alone["weights"] != build().group_weights.flatten().tolist()
