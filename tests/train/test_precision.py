"""In which numbers a run trains where nobody says."""

import pytest
import torch

from train.trainer import computes_in_bf16


@pytest.mark.parametrize("itself", [True, False])
def test_a_gpu_that_emulates_bfloat16_is_not_asked_to(monkeypatch: pytest.MonkeyPatch, itself: bool) -> None:
    """As those before Ampere do, which PyTorch says can."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or itself)
    assert computes_in_bf16(None) == itself
    assert computes_in_bf16(True)
    assert not computes_in_bf16(False)
