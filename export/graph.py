"""The ONNX graph: ids and mask in, logits and sentence embedding out, both axes dynamic and named."""

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from train.model import MultiHeadClassifier

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "sentence_embedding")


class ServingGraph(nn.Module):
    """The classifier with tensors, rather than a dataclass, as its outputs."""

    def __init__(self, model: MultiHeadClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`logits` (batch, heads) and `sentence_embedding` (batch, hidden) of ids and mask (batch, sequence)."""
        output = self.model(input_ids, attention_mask)
        return output.logits, output.sentence_embedding


def export_graph(model: MultiHeadClassifier, path: Path, opset: int) -> None:
    """Write the float32 graph to `path`, weights inside."""
    graph = ServingGraph(model.cpu().float().eval())
    example = torch.full((2, 16), 5, dtype=torch.long)
    axes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("sequence", min=2, max=512)}
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's business
            torch.onnx.export(
                graph,
                (example, torch.ones_like(example)),
                str(path),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({**axes}, {**axes}),
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
