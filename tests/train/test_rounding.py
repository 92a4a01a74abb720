"""Weights rounded once: to numbers that 8 bits hold and no processor's sums cut off, near what they were, and never moved again."""

import itertools
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from train.rounding import int8_channels, round_weights, rounded
from train.run import load_run

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
)


def largest_sum(whole: np.ndarray) -> int:
    """The largest sum of two weights of one sign among four consecutive inputs of an output."""
    sums = [0]
    for row in whole.astype(int):
        for start in range(0, len(row), 4):
            for one, other in itertools.combinations(row[start : start + 4], 2):
                sums += [abs(one + other) if one * other > 0 else max(abs(one), abs(other))]
    return max(sums)


def test_each_output_has_its_own_scale() -> None:
    whole, scale = int8_channels(torch.tensor([[124.6, 1.4, -63.6, 0], [0.0, 0.0, 0.0, 0], [0.0, 0.252, -0.1, 0]]))
    assert whole.tolist() == [[125, 1, -64, 0], [0, 0, 0, 0], [0, 126, -50, 0]]
    torch.testing.assert_close(scale, torch.tensor([[1.0], [1.0], [0.002]]))


def test_only_weights_of_one_sign_side_by_side_share_the_steps() -> None:
    for row, steps in (
        ([1.0, 1.0, 0, 0, 0, 0], [63, 63, 0, 0, 0, 0]),
        ([1.0, -1.0, 0, 0, 0, 0], [126, -126, 0, 0, 0, 0]),
        ([1.0, 0, 0, 0, 1.0, 0], [126, 0, 0, 0, 126, 0]),  # of two groups of four
        ([0, 0, 0, 0, -1.0, -2.0], [0, 0, 0, 0, -42, -84]),  # the last group may be short
    ):
        assert int8_channels(torch.tensor([row]))[0][0].tolist() == steps


@given(matrices)
def test_rounding_moves_a_weight_by_half_a_step_and_no_sum_is_cut_off(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    whole, scale = int8_channels(weight)
    assert ((whole * scale - weight).abs() <= 0.5001 * scale + 1e-30).all()
    assert 255 * largest_sum(whole.numpy()) <= 2**15 - 1


@given(matrices)
def test_rounded_weights_are_never_moved_again(values: np.ndarray) -> None:
    weight = rounded(torch.from_numpy(values))
    whole, scale = int8_channels(weight)
    torch.testing.assert_close(whole * scale, weight, rtol=1e-6, atol=1e-37)
    assert largest_sum(whole.numpy()) <= 126


def test_a_finished_run_is_rounded_already(tiny_workspace: Path) -> None:
    model = load_run(tiny_workspace / "runs" / "tiny" / "latest").model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(before["roberta.encoder.layer.0.output.dense.weight"].unique()) > 253, "scales differ between outputs"
    round_weights(model)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=0)
