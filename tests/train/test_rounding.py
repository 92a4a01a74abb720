"""Weights rounded once: to numbers that 8 bits hold, near what they were, and never moved again."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from train.rounding import int8_channels, round_weights
from train.run import load_run

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
)


def test_each_output_has_its_own_scale() -> None:
    whole, scale = int8_channels(torch.tensor([[127.0, 1.4, -63.6], [0.0, 0.0, 0.0], [0.0, 0.254, -0.1]]))
    assert whole.tolist() == [[127, 1, -64], [0, 0, 0], [0, 127, -50]]
    torch.testing.assert_close(scale, torch.tensor([[1.0], [1.0], [0.002]]))


@given(matrices)
def test_rounding_moves_a_weight_by_half_a_step_and_only_once(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    whole, scale = int8_channels(weight)
    rounded = whole * scale
    assert ((rounded - weight).abs() <= 0.5001 * scale + 1e-30).all()
    again, same_scale = int8_channels(rounded)
    assert torch.equal(again, whole)
    torch.testing.assert_close(again * same_scale, rounded, rtol=1e-6, atol=0)


def test_a_finished_run_is_rounded_already(tiny_workspace: Path) -> None:
    model = load_run(tiny_workspace / "runs" / "tiny" / "latest").model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(before["roberta.encoder.layer.0.output.dense.weight"].unique()) > 255, "scales differ between outputs"
    round_weights(model)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=0)
