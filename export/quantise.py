"""Smaller graphs from the float32 one: float16 for GPUs, int8 for processors.

int8 here quantises activations **per token**: every row of a matrix product gets its own scale, found at run time.
onnxruntime's stock dynamic quantisation takes one scale for a whole batch, so that one outlier coarsens every text, and
a text's score depends on its neighbours in the batch. What comes out of a GELU is never below -0.17, so it is shifted by
that and uses all 255 steps. Channels whose activations are far larger than the others' (`export.outliers`) are multiplied in float32:
they would coarsen all others. Weights have one scale per output channel, word embeddings one per row (8 bits) or per 32
weights (4 bits). The kernels are onnxruntime's: `QuantizeLinear` along the rows, then `MatMulIntegerToFloat`.

Between the products tokens stay rows of a matrix (tokens, width), whatever text they are of; only attention needs to know.

Weights are signed bytes that no processor's sums cut off (`train.rounding`). Unsigned ones, which onnxruntime adds in 32 bits
everywhere, would need no such care, but take more than twice the time where there is VNNI.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from export.operators import CONTRIB, adds_bias, is_by_token, is_dense, is_embedding, is_large_table, rebuilt, weights_of
from export.outliers import Sizes, outliers
from train.rounding import int8_channels

_BLOCK = 32
_GELU_MINIMUM = -0.17
_FAR = 1e4  # stands for the float32 minimum in the attention mask: exp(-1e4) is 0, and sums of two stay below float16's 65,504
_OUTLIERS = 4  # channels of a product that stay float32, where any do; in a trial more than four no longer helped
_STEPS = 127  # of an activation, or of a row of embeddings, on either side of zero


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The encoder in float16; pooling and heads stay float32, where a sum over tokens could overflow and a tiny divisor become 0.

    onnxruntime's own converter rounds to float16 between any two operators that it is told to leave alone, and so
    divides 0 by 0 where the vector of a row of padding is normalised.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    nodes = list(half.graph.node)
    last = max(index for index, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    encoder, rest = nodes[: last + 1], nodes[last + 1 :]
    weights = weights_of(half)
    for node in encoder:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        for place, name in enumerate(node.input):
            if name in weights and weights[name].data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(weights[name])
                node.input[place] = f"{name}_float16"
                weights[f"{name}_float16"] = numpy_helper.from_array(np.clip(values, -_FAR, _FAR).astype(np.float16), f"{name}_float16")
    (hidden,) = encoder[-1].output
    encoder[-1].output[0] = f"{hidden}_float16"
    widen = helper.make_node("Cast", [f"{hidden}_float16"], [hidden], name=f"{hidden}_widen", to=TensorProto.FLOAT)
    return rebuilt(half, [*encoder, widen, *rest], list(weights.values()))


def layers(model: onnx.ModelProto) -> list[str]:
    """The names of the matrix products with constant weights that `to_int8` quantises, from input to output."""
    weights = weights_of(model)
    return [node.name for node in model.graph.node if is_dense(node, weights)]


def embeddings_fit_four_bits(model: onnx.ModelProto) -> bool:
    """Whether 4 bits hold the word embeddings exactly: those of the packaged encoder, if training left them as they were."""
    weights = weights_of(model)
    for node in model.graph.node:
        if is_embedding(node, weights):
            values = numpy_helper.to_array(weights[node.input[0]])
            if values.shape[1] % _BLOCK:
                return False
            packed, scales = _four_bits(values)
            numbers = np.stack([packed & 15, packed >> 4], axis=2).reshape(len(values), -1, _BLOCK).astype(np.float32) - 8
            if not np.array_equal((numbers * scales[:, :, None].astype(np.float32)).reshape(values.shape), values):
                return False
    return True


def dense_inputs(model: onnx.ModelProto) -> list[str]:
    """The names of the activations that `to_int8` quantises."""
    weights = weights_of(model)
    return sorted({node.input[0] for node in model.graph.node if is_dense(node, weights)})


def to_int8(
    model: onnx.ModelProto, keep: Collection[str] = (), embedding_bits: int = 8, activations: Sizes | None = None
) -> onnx.ModelProto:
    """The graph with 8-bit matrix products and 4- or 8-bit word embeddings.

    Parameters
    ----------
    keep
        Names from `layers` that compute in float32. Their weights are stored in 8 bits all the same if those hold them exactly.
    embedding_bits
        4 (blocks of 32 weights share a scale) or 8 (one scale per row).
    activations
        How large the channels of the `dense_inputs` become; the largest stay in float32. None: none do.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    weights = weights_of(small)
    rewriter = _Rewriter(model, weights, activations or {})
    for node in small.graph.node:
        if is_dense(node, weights):
            if node.name in keep:
                rewriter.kept(node)
            else:
                rewriter.dense(node)
        elif is_embedding(node, weights):
            rewriter.embeddings(node, embedding_bits)
        elif is_large_table(node, weights):
            rewriter.ngrams(node)
        elif node.output[0] in rewriter.made:
            continue  # a bias, which its product has added
        elif not rewriter.by_token(node):
            rewriter.other(node)
    for value in small.graph.output:
        rewriter.output(value.name)
    return rebuilt(small, rewriter.nodes, [*weights.values(), *rewriter.constants.values()])


class _Rewriter:
    """Collects the nodes and constants of a quantised graph."""

    def __init__(self, model: onnx.ModelProto, weights: dict[str, TensorProto], activations: Sizes) -> None:
        self.weights = weights
        self.gelu_outputs = {node.output[0] for node in model.graph.node if node.op_type == "Gelu"}
        readers = Counter(name for node in model.graph.node for name in node.input)
        biases = [node for node in model.graph.node if adds_bias(node, weights) and readers[node.input[0]] == 1]
        self.biases = {node.input[0]: node for node in biases}
        self.dense_inputs = set(dense_inputs(model))
        found = {name: outliers(size, _OUTLIERS) for name, size in activations.items() if len(size) > 2 * _OUTLIERS}
        self.outliers = {name: channels for name, channels in found.items() if len(channels)}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._rows: dict[str, str] = {}  # the name that an activation has as (tokens, width)
        self.made: set[str] = set()

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def _node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}_node", domain=domain, **attributes))
        return output

    def _once(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        if output not in self.made:
            self.made.add(output)
            self._node(operator, inputs, output, **attributes)
        return output

    def _zero(self, x: str) -> str:
        """The step that stands for zero: the first where there is nothing below zero, else the middle one."""
        if x in self.gelu_outputs:
            return self._constant("first_step", np.array(0, np.uint8))
        return self._constant("middle_step", np.array(_STEPS + 1, np.uint8))

    def _as_rows(self, x: str, width: int) -> str:
        """`x` (batch, sequence, width) as (tokens, width)."""
        if x not in self._rows:
            self._once("Shape", [x], "batch_sequence", start=0, end=2)
            self._rows[x] = self._node("Reshape", [x, self._constant(f"tokens_by_{width}", np.array([-1, width]))], f"{x}_rows")
        return self._rows[x]

    def by_token(self, node: onnx.NodeProto) -> bool:
        """Take an operator that works on rows as well, if its inputs are rows; a normalisation makes them rows where products follow."""
        if node.op_type == "LayerNormalization" and node.output[0] in self.dense_inputs:
            # also because onnxruntime would fuse it with the addition before it, into an operator that takes several times as long
            self._as_rows(node.input[0], self.weights[node.input[1]].dims[0])
        if not is_by_token(node, self.weights, self._rows):
            return False
        node.input[:] = [self._rows.get(name, name) for name in node.input]
        self._rows[node.output[0]] = node.output[0]
        self.nodes.append(node)
        return True

    def other(self, node: onnx.NodeProto) -> None:
        """An operator of another kind: rows get their batch and sequence back, but for a Reshape, which itself says their shape."""
        for place, name in enumerate(node.input):
            if self._rows.get(name) == name and node.op_type != "Reshape":
                shape = self._once("Concat", ["batch_sequence", self._constant("rest", np.array([-1]))], "batch_sequence_rest", axis=0)
                node.input[place] = self._once("Reshape", [name, shape], f"{name}_batched")
        self.nodes.append(node)

    def output(self, name: str) -> None:
        """An output of the graph: if it is rows, it gets its batch and sequence back under its own name."""
        if self._rows.get(name) != name:
            return
        rows = f"{name}_as_rows"
        for node in self.nodes:
            node.input[:] = [rows if tensor == name else tensor for tensor in node.input]
            node.output[:] = [rows if tensor == name else tensor for tensor in node.output]
        self._rows[rows] = rows
        self.other(helper.make_node("Identity", [rows], [name], name=f"{rows}_node"))

    def _per_token(self, x: str, width: int) -> tuple[str, str, str]:
        """`x` as float32 rows (tokens, width), shifted if one-sided, the same as uint8, and the rows' scales (tokens, 1)."""
        rows, whole, scale = self._as_rows(x, width), f"{x}_uint8", f"{x}_scale"
        one_sided = x in self.gelu_outputs
        if one_sided:
            rows = self._once("Sub", [rows, self._constant("gelu_minimum", np.array(_GELU_MINIMUM, np.float32))], f"{x}_shifted")
        if whole in self.made:  # query, key and value read the same tokens
            return rows, whole, scale
        size = rows if one_sided else self._node("Abs", [rows], f"{x}_size")
        if x in self.outliers:  # whose 8 bits may overflow: they meet weights of 0
            ordinary = np.ones(width, np.float32)
            ordinary[self.outliers[x]] = 0
            size = self._node("Mul", [size, self._constant(f"{x}_ordinary", ordinary)], f"{x}_ordinary_size")
        largest = self._node("ReduceMax", [size, self._constant("last_axis", np.array([-1]))], f"{x}_largest", keepdims=1)
        positive = self._node("Max", [largest, self._constant("smallest_size", np.array(1e-6, np.float32))], f"{x}_positive")
        step = self._constant("step_of_255" if one_sided else "step_of_127", np.array(1 / (255 if one_sided else _STEPS), np.float32))
        self._node("Mul", [positive, step], scale)
        flat_scale = self._node("Reshape", [scale, self._constant("flat", np.array([-1]))], f"{x}_flat_scale")
        zero = self._zero(x)
        zeros = self._once("Expand", [zero, self._once("Shape", [flat_scale], "tokens")], f"{zero}s")
        self._once("QuantizeLinear", [rows, flat_scale, zeros], whole, axis=0)
        return rows, whole, scale

    def dense(self, node: onnx.NodeProto) -> None:
        """x @ W + bias as integers: (uint8 rows @ int8 W) * channel scales * token scales, and in float32 what is no integer's business.

        That is the outlying channels, the bias, and what the shift took away, a constant like it: where there are outlying channels
        one product of a few columns, the last of them ones.
        """
        x, weight = node.input
        values = numpy_helper.to_array(self.weights[weight])
        whole, channel = (part.numpy().T.copy() for part in int8_channels(torch.from_numpy(values.T.copy())))
        rows, tokens, token_scale = self._per_token(x, values.shape[0])
        if x in self.outliers:
            whole[self.outliers[x]] = 0
        output, constant = node.output[0], np.zeros(values.shape[1])
        if output in self.biases:
            addition = self.biases[output]
            constant += numpy_helper.to_array(self.weights[addition.input[1]])
            (output,) = addition.output
            self.made.add(output)
        if x in self.gelu_outputs:
            constant += _GELU_MINIMUM * values.sum(axis=0, dtype=np.float64)
        inputs = [
            tokens,
            self._constant(f"{weight}_int8", whole),
            self._constant("one", np.array(1, np.float32)),
            self._constant(f"{weight}_scale", channel[0]),
            self._zero(x),
        ]
        unscaled = self._node("MatMulIntegerToFloat", inputs, f"{output}_unscaled", domain=CONTRIB)
        scaled = [unscaled, token_scale]
        if x in self.outliers:
            beside = self._constant(f"{weight}_beside", np.vstack([values[self.outliers[x]], constant]).astype(np.float32))
            self._node("Gemm", [self._outliers_and_one(x, rows), beside, self._node("Mul", scaled, f"{output}_scaled")], output)
        elif constant.any():
            added = self._constant(f"{weight}_constant", constant.astype(np.float32))
            self._node("Add", [self._node("Mul", scaled, f"{output}_scaled"), added], output)
        else:
            self._node("Mul", scaled, output)
        self._rows[output] = output

    def _outliers_and_one(self, x: str, rows: str) -> str:
        """The outlying channels of `x` and a column of ones, (tokens, channels + 1)."""
        large = self._once("Gather", [rows, self._constant(f"{x}_outliers", self.outliers[x])], f"{x}_large", axis=1)
        column_behind = self._constant("column_behind", np.array([0, 0, 0, 1]))
        return self._once("Pad", [large, column_behind, self._constant("one", np.array(1, np.float32))], f"{x}_large_and_one")

    def kept(self, node: onnx.NodeProto) -> None:
        """x @ W in float32; onnxruntime widens a W of 8 bits when it loads the graph."""
        x, weight = node.input
        values = numpy_helper.to_array(self.weights[weight])
        whole, channel = (part.numpy().T.copy() for part in int8_channels(torch.from_numpy(values.T.copy())))
        if np.allclose(whole * channel, values, rtol=1e-6, atol=0):
            wide = self._node("Cast", [self._constant(f"{weight}_int8", whole)], f"{weight}_whole", to=TensorProto.FLOAT)
            node.input[1] = self._node("Mul", [wide, self._constant(f"{weight}_scale", channel[0])], f"{weight}_wide")
        node.input[0] = self._as_rows(x, values.shape[0])
        self._rows[node.output[0]] = node.output[0]
        self.nodes.append(node)

    def ngrams(self, node: onnx.NodeProto) -> None:
        """A lookup in a table of 8-bit weights with one scale per column, as `train.ngrams` has rounded them."""
        name, places = node.input
        values = numpy_helper.to_array(self.weights[name])
        largest = np.abs(values).max(axis=0)
        scale = np.where(largest == 0, 1, largest / _STEPS).astype(np.float32)
        whole = self._constant(f"{name}_int8", np.rint(values / scale).astype(np.int8))
        found = self._node(
            "Cast", [self._node("Gather", [whole, places], f"{node.output[0]}_int8")], f"{node.output[0]}_float", to=TensorProto.FLOAT
        )
        self._node("Mul", [found, self._constant(f"{name}_scale", scale)], node.output[0])

    def embeddings(self, node: onnx.NodeProto, bits: int) -> None:
        """A lookup in a table of 4- or 8-bit weights."""
        name, ids = node.input
        values = numpy_helper.to_array(self.weights[name])
        output = node.output[0]
        if bits == 4 and values.shape[1] % _BLOCK == 0:
            packed, scales = _four_bits(values)
            inputs = [self._constant(f"{name}_uint4", packed), ids, self._constant(f"{name}_scale", scales)]
            half = self._node(
                "GatherBlockQuantized", inputs, f"{output}_half", domain=CONTRIB, bits=4, block_size=_BLOCK, gather_axis=0, quantize_axis=1
            )
            self._node("Cast", [half], output, to=TensorProto.FLOAT)
            return
        largest = np.abs(values).max(axis=1, keepdims=True)
        scale = np.where(largest == 0, 1, largest / _STEPS).astype(np.float32)
        rows = np.rint(values / scale).astype(np.int8)
        whole = self._node("Gather", [self._constant(f"{name}_int8", rows), ids], f"{output}_int8")
        real = self._node("Cast", [whole], f"{output}_float", to=TensorProto.FLOAT)
        self._node("Mul", [real, self._node("Gather", [self._constant(f"{name}_scale", scale), ids], f"{output}_scale")], output)


def _four_bits(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Weights (rows, columns) as pairs of 4-bit numbers around 8, low nibble first, and a float16 scale per block of 32.

    The scale carries the sign of the block's largest weight, which so becomes exactly -8 (the rule of GGML's Q4_0).
    """
    blocks = values.reshape(len(values), -1, _BLOCK)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    scales = np.where(extreme == 0, 1, extreme / -8).astype(np.float16)
    numbers = np.clip(np.rint(blocks / scales.astype(np.float32)) + 8, 0, 15).astype(np.uint8).reshape(values.shape)
    return numbers[:, 0::2] | (numbers[:, 1::2] << 4), scales[:, :, 0]
