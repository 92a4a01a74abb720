"""Attention that multiplies its heads where they lie.

The exported graph copies queries, keys and values, (batch, sequence, heads, width), so that every head's matrix is in one piece, and
what comes out is copied back. With tokens in order of their place, (sequence, batch), all heads of all texts stand side by side,
(sequence, batch * heads, width), and onnxruntime's `FusedMatMul` reads such matrices without a copy. The numbers stay the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.operators import CONTRIB, is_by_token, is_dense, rebuilt, weights_of

Nodes = Mapping[str, onnx.NodeProto]
_PATTERN = ["Softmax", "Add", "Mul", "MatMul", "MatMul", "Transpose", "Reshape", *(["Transpose"] * 3), *(["Reshape"] * 3)]


@dataclass
class _Attention:
    """softmax(query @ key * scale + mask) @ value, and the nodes that compute it, the last of which writes `output`."""

    query: str
    key: str
    value: str
    scale: float
    mask: str
    width: int  # of a head
    output: str
    nodes: list[onnx.NodeProto]


def sequence_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with tokens ordered by place between embeddings and pooling; as it was if it holds no attention that this knows."""
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    nodes = list(turned.graph.node)
    weights = weights_of(turned)
    written = {output: node for node in nodes for output in node.output}
    reading = {name: node for node in nodes for name in node.input}
    found = [_attention(node, written, reading, weights) for node in nodes if node.op_type == "Softmax"]
    known = [attention for attention in found if attention is not None]
    if not known or len(known) < len(found):
        return model
    writer = _Writer(weights)
    by_output = {attention.output: attention for attention in known}
    replaced = {output for attention in known for node in attention.nodes for output in node.output}
    for node in nodes:
        if node.op_type == "LayerNormalization" and not writer.tokens:
            writer.start(node)
        elif node.output[0] in by_output:
            writer.attention(by_output[node.output[0]])
        elif node.output[0] not in replaced:
            writer.other(node)
    if any(name not in writer.tokens for attention in known for name in (attention.query, attention.key, attention.value)):
        return model
    return rebuilt(turned, writer.nodes, [*weights.values(), *writer.constants])


def _attention(softmax: onnx.NodeProto, written: Nodes, reading: Nodes, weights: dict[str, onnx.TensorProto]) -> _Attention | None:
    """What a softmax is the middle of, as transformers' eager attention writes it; None if it is written otherwise.

    `written` and `reading` have the node that writes a tensor, and one that reads it.
    """
    try:
        masked = written[softmax.input[0]]
        scaled = written[masked.input[0]]
        scores = written[scaled.input[0]]
        mixed = reading[softmax.output[0]]
        back = reading[mixed.output[0]]
        joined = reading[back.output[0]]
        turns = [written[name] for name in (*scores.input, mixed.input[1])]
        splits = [written[turn.input[0]] for turn in turns]
        width = weights[written[splits[0].input[1]].input[-1]]
        scale = weights[scaled.input[1]]
    except (KeyError, IndexError):
        return None
    parts = [softmax, masked, scaled, scores, mixed, back, joined, *turns, *splits]
    orders = [list(turn.attribute[0].ints) for turn in turns if turn.op_type == "Transpose"]
    if [part.op_type for part in parts] != _PATTERN or orders != [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]:
        return None
    query, key, value = (split.input[0] for split in splits)
    head_width, factor = (numpy_helper.to_array(tensor).item() for tensor in (width, scale))
    return _Attention(query, key, value, factor, masked.input[1], head_width, joined.output[0], parts)


class _Writer:
    """Collects the nodes of the turned graph."""

    def __init__(self, weights: dict[str, onnx.TensorProto]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [numpy_helper.from_array(np.array([-1]), "all_the_rest")]
        self.tokens: set[str] = set()  # the activations that are ordered by place
        self._back: set[str] = set()

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        domain = CONTRIB if operator == "FusedMatMul" else ""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}_node", domain=domain, **attributes))
        return output

    def start(self, node: onnx.NodeProto) -> None:
        """The first normalisation, before which tokens change their order, with the shapes that attention needs."""
        turned = self._node("Transpose", [node.input[0]], "by_place", perm=[1, 0, 2])
        for name, place in (("places", 0), ("texts", 1)):
            self._node("Shape", [turned], name, start=place, end=place + 1)
        self._node("Concat", ["texts", "all_the_rest", "places", "places"], "texts_heads_places_places", axis=0)
        self._node("Concat", ["all_the_rest", "places", "places"], "heads_places_places", axis=0)
        self._node("Concat", ["places", "texts", "all_the_rest"], "places_texts_width", axis=0)
        node.input[0] = turned
        self.nodes.append(node)
        self.tokens.add(node.output[0])

    def attention(self, part: _Attention) -> None:
        """Every head of every text a matrix (places, width) in strides; only what comes out is copied."""
        name = part.output
        width = numpy_helper.from_array(np.array([part.width]), f"{name}_head_width")
        self.constants.append(width)
        shape = self._node("Concat", ["places", "all_the_rest", width.name], f"{name}_heads", axis=0)
        query, key, value = (self._node("Reshape", [side, shape], f"{side}_heads") for side in (part.query, part.key, part.value))
        scores = self._node("FusedMatMul", [query, key], f"{name}_scores", transB=1, transBatchA=1, transBatchB=1, alpha=part.scale)
        by_text = self._node("Reshape", [scores, "texts_heads_places_places"], f"{name}_scores_by_text")
        masked = self._node("Add", [by_text, part.mask], f"{name}_masked")
        shares = self._node("Softmax", [masked], f"{name}_shares", axis=-1)
        by_head = self._node("Reshape", [shares, "heads_places_places"], f"{name}_shares_by_head")
        mixed = self._node("FusedMatMul", [by_head, value], f"{name}_mixed", transBatchB=1)
        back = self._node("Transpose", [mixed], f"{name}_by_place", perm=[1, 0, 2])
        self.tokens.add(self._node("Reshape", [back, "places_texts_width"], name))

    def other(self, node: onnx.NodeProto) -> None:
        """Any other operator: one that minds the order of tokens gets them text by text."""
        if is_by_token(node, self.weights, self.tokens) or (is_dense(node, self.weights) and node.input[0] in self.tokens):
            self.tokens.add(node.output[0])
        for place, name in enumerate(node.input):
            if name in self.tokens and node.output[0] not in self.tokens:
                node.input[place] = f"{name}_by_text"
                if name not in self._back:
                    self._back.add(name)
                    self._node("Transpose", [name], f"{name}_by_text", perm=[1, 0, 2])
        self.nodes.append(node)
