"""The ONNX graph: ids and mask in; logits, calibrated probabilities and sentence embedding out; both axes dynamic and named."""

import logging
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from export.settings import EXTERNAL_ABOVE
from train.model import MultiHeadClassifier
from train.policy import Policy

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "probabilities", "sentence_embedding")


class ServingGraph(nn.Module):
    """The classifier with tensors, rather than a dataclass, as its outputs, and the heads' calibrations inside."""

    def __init__(self, model: MultiHeadClassifier, policy: Policy) -> None:
        super().__init__()
        self.model = model
        fitted = [policy.heads[head] for head in model.config.heads]
        self.register_buffer("temperature", torch.tensor([head.temperature for head in fitted]))
        self.register_buffer("intercept", torch.tensor([head.intercept for head in fitted]))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`logits` and `probabilities` (batch, heads), `sentence_embedding` (batch, dimension) of ids and mask (batch, sequence)."""
        output = self.model(input_ids, attention_mask)
        probabilities = torch.sigmoid(output.logits / self.temperature + self.intercept)
        return output.logits, probabilities, output.sentence_embedding


def export_graph(model: MultiHeadClassifier, policy: Policy, opset: int) -> onnx.ModelProto:
    """The float32 graph, in standard operators only, with nothing in it that tells where or when it was made."""
    # Plain attention: its additive mask keeps rows of padding finite, where the fused kernel's boolean one gives NaN and repairs it.
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    graph = ServingGraph(model.cpu().float(), policy).eval()
    example = torch.full((2, 16), 5, dtype=torch.long)
    longest = model.config.max_position_embeddings - model.config.pad_token_id - 1
    axes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("sequence", min=2, max=longest)}
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
            warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's business
            path = Path(scratch) / "model.onnx"
            torch.onnx.export(
                graph,
                (example, torch.ones_like(example)),
                str(path),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({**axes}, {**axes}),
                opset_version=opset,
                dynamo=True,
                external_data=True,  # whatever the size; `save_graph` decides where the weights end up
                verbose=False,
            )
            exported = onnx.load(path)
    finally:
        exporter_log.setLevel(level)
        model.set_attn_implementation(attention)
    return without_provenance(exported)


def without_provenance(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop stack traces, file paths and intermediate shapes: the same run must give the same bytes on any machine."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        entry.doc_string = ""
        del entry.metadata_props[:]
    return model


def save_graph(model: onnx.ModelProto, path: Path, external_above: int = EXTERNAL_ABOVE) -> list[Path]:
    """Write a graph; one with more than `external_above` bytes of weights keeps its weights in `<name>.data` beside it.

    Returns
    -------
    The files written. Both must travel together, under their names.
    """
    # the weights' own sizes: a message of more than 2 GiB cannot be written out whole, and so not be asked for its size either
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= external_above:
        onnx.save(model, path)
        return [path]
    apart = onnx.ModelProto()
    apart.CopyFrom(model)  # onnx.save moves the weights out of the message it is given
    onnx.save(apart, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data", size_threshold=1024)
    return [path, path.with_name(f"{path.name}.data")]


def embedding_dimension(model: onnx.ModelProto) -> int:
    """The width of the `sentence_embedding` output, as the graph states it."""
    (output,) = (value for value in model.graph.output if value.name == "sentence_embedding")
    return int(output.type.tensor_type.shape.dim[-1].dim_value)
