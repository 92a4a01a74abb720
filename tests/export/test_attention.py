"""Attention over tokens in order of their place computes what it did, without the copies."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from export.attention import sequence_first
from export.quantise import dense_inputs, layers
from tests.export.test_quantise import one_layer


@pytest.fixture(scope="module")
def graph(tiny_workspace: Path) -> onnx.ModelProto:
    return onnx.load(tiny_workspace / "releases" / "tiny" / "artifact" / "model.onnx")


@pytest.mark.parametrize(("texts", "places"), [(1, 2), (1, 9), (3, 5), (5, 3), (4, 31)])
def test_every_output_is_what_it_was(graph: onnx.ModelProto, texts: int, places: int) -> None:
    """Texts of different lengths too, and a row of nothing but padding."""
    ids = np.random.default_rng(0).integers(5, 60, (texts, places))
    mask = np.ones_like(ids)
    if texts > 1:
        mask[1, places // 2 :] = 0
        mask[-1] = 0
    inputs = {"input_ids": np.where(mask == 1, ids, 1), "attention_mask": mask}
    before, after = (onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs) for model in (graph, sequence_first(graph)))
    for expected, got in zip(before, after, strict=True):
        np.testing.assert_allclose(got, expected, atol=5e-5)  # sums in another order; processors differ in the fifth decimal


def test_one_copy_a_layer_is_left_of_four(graph: onnx.ModelProto) -> None:
    turned = sequence_first(graph)
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (graph, turned))
    assert before["Softmax"] == 2
    assert before["Transpose"] == 4 * 2
    assert after["Transpose"] == 2 + 2, "and one there and one back for the whole graph"
    assert after["FusedMatMul"] == 2 * 2
    assert layers(turned) == layers(graph)
    assert dense_inputs(turned) == dense_inputs(graph)
    onnx.checker.check_model(turned)


def test_other_attention_is_left_alone(graph: onnx.ModelProto) -> None:
    """None at all, and one whose scores are not scaled where they are expected to be."""
    without = one_layer(np.eye(16, dtype=np.float32))
    assert sequence_first(without) is without
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    softmax = next(node for node in other.graph.node if node.op_type == "Softmax")
    masked = next(node for node in other.graph.node if softmax.input[0] in node.output)
    scaled = next(node for node in other.graph.node if masked.input[0] in node.output)
    scaled.op_type = "Div"
    assert sequence_first(other) is other


def test_the_graph_given_stays_as_it_was(graph: onnx.ModelProto) -> None:
    before = graph.SerializeToString(deterministic=True)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in sequence_first(graph).graph.initializer}
    assert graph.SerializeToString(deterministic=True) == before
    assert all(
        np.array_equal(weights[name], numpy_helper.to_array(tensor))
        for tensor in graph.graph.initializer
        if (name := tensor.name) in weights
    )
