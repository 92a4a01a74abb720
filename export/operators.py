"""What the nodes of an exported graph are, for those who rewrite it."""

from collections.abc import Container, Mapping, Sequence

import onnx
from onnx import TensorProto

CONTRIB = "com.microsoft"  # onnxruntime's own operators
_LARGE_TABLE = 1000  # rows; smaller tables (positions, token types) cost nothing and stay float32
_NARROWEST = 16  # columns; narrower products (the heads) cost nothing and stay float32, narrower tables are no embeddings

Weights = Mapping[str, TensorProto]


def weights_of(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """The graph's constant tensors by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def rebuilt(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto]) -> onnx.ModelProto:
    """The model with other nodes, those of the weights that they use, and onnxruntime's operators allowed if they use any."""
    used = {name for node in nodes for name in node.input}
    copied = onnx.GraphProto()  # the entries given may be the model's own, which clearing its fields would end
    copied.node.extend(nodes)
    copied.initializer.extend(tensor for tensor in weights if tensor.name in used)
    for field, entries in ((model.graph.node, copied.node), (model.graph.initializer, copied.initializer)):
        del field[:]
        field.extend(entries)
    imported = {entry.domain for entry in model.opset_import}
    if any(node.domain == CONTRIB for node in nodes) and CONTRIB not in imported:
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
    return model


def is_dense(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether it multiplies by a constant matrix, and not a narrow one."""
    return (
        node.op_type == "MatMul" and node.input[1] in weights
        and len(weights[node.input[1]].dims) == 2 and weights[node.input[1]].dims[1] >= _NARROWEST
    )  # fmt: skip


def adds_bias(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether it adds a constant vector."""
    return node.op_type == "Add" and node.input[1] in weights and len(weights[node.input[1]].dims) <= 1


def is_by_token(node: onnx.NodeProto, weights: Weights, tokens: Container[str]) -> bool:
    """Whether it gives every token the same wherever the token stands: its inputs are `tokens` and perhaps constant vectors."""
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    constant = [name for name in node.input if name in weights and len(weights[name].dims) <= 1]
    others = [name for name in node.input if name not in constant]
    alike = node.op_type in ("Add", "Gelu") or (node.op_type == "LayerNormalization" and axes in ([], [-1]))
    return alike and len(others) > 0 and all(name in tokens for name in others)


def is_large_table(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether it looks rows up in a constant table, and not a small one."""
    return node.op_type == "Gather" and node.input[0] in weights and weights[node.input[0]].dims[0] > _LARGE_TABLE


def is_embedding(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether it looks up vectors in a large table; that of n-grams has a number for each head."""
    return is_large_table(node, weights) and weights[node.input[0]].dims[1] >= _NARROWEST
