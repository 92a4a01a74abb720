"""Channels that are too large for 8 bits: found by running the graph, and multiplied in float32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.outliers import largest_activations, outliers
from export.quantise import dense_inputs, to_int8
from tests.export.test_quantise import one_layer, outputs
from train.rounding import rounded
from train.run import load_run


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [None, 2.0])
def test_a_large_channel_does_not_coarsen_the_others(gelu: bool, bias: float | None) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (32, 16)).astype(np.float32)
    weight = rounded(torch.from_numpy(weight.T)).numpy().T  # exact in 8 bits
    x = rng.uniform(0.01, 0.02, (2, 3, 32)).astype(np.float32)
    x[..., 7] = 5000 * rng.uniform(0.5, 1, (2, 3))
    model = one_layer(weight.astype(np.float32), gelu=gelu, bias=bias)
    exact = outputs(model, x)
    coarse = np.abs(outputs(to_int8(model), x) - exact).max()
    small = to_int8(model, activations={"y" if gelu else "x": np.abs(x).max(axis=(0, 1))})
    fine = np.abs(outputs(small, x) - exact).max()
    assert fine < 0.01 < coarse
    operators = [node.op_type for node in small.graph.node]
    assert (operators.count("Gemm"), operators.count("Add")) == (1, 0), "the large channels' product brings the bias and the shift's share"


def test_activations_are_those_of_the_model(tiny_workspace: Path, tmp_path: Path) -> None:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    graph = onnx.load(tiny_workspace / "releases" / "tiny" / "artifact" / "model.onnx")
    rows = [np.asarray(run.tokenizer.encode(text).ids, dtype=np.int32) for text in ("one", "two and three", "Ruvel")]
    seen: list[torch.Tensor] = []
    query = run.model.roberta.encoder.layer[0].attention.self.query
    hook = query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].abs().amax(dim=(0, 1))))
    with torch.inference_mode():
        for ids in rows:
            run.model(torch.from_numpy(ids[None].astype(np.int64)), torch.ones(1, len(ids), dtype=torch.long))
    hook.remove()
    found = largest_activations(graph, dense_inputs(graph), rows, tmp_path / "scratch.onnx")
    wanted = torch.stack(seen).amax(dim=0).numpy()
    assert any(size.shape == wanted.shape and np.allclose(size, wanted, atol=1e-5) for size in found.values())
    assert set(found) == set(dense_inputs(graph))
    assert list(tmp_path.iterdir()) == [], "the scratch file is gone"


def test_ties_and_short_rows_are_stable() -> None:
    assert outliers(np.array([1.0, 9.0, 9.0, 2.0, 1.0], dtype=np.float32), 2).tolist() == [1, 2]
    assert outliers(np.array([1.0, 9.0], dtype=np.float32), 4).tolist() == [], "1.8 times the median, which is 5"
