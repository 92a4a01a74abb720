"""The few channels of a graph's activations that are far larger than the others.

A token's 8 bits must reach its largest channel, so these few coarsen all others; they are the same channels for every token
(Dettmers et al. 2022, LLM.int8()). `export.quantise` leaves them in float32.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from export.graph import save_graph
from export.parity import open_session

Sizes = Mapping[str, npt.NDArray[np.float32]]
_FAR_LARGER = 3  # times; what attention has averaged is not, and spared the extra product the logits of a trial were as near


def largest_activations(model: onnx.ModelProto, names: Sequence[str], rows: Sequence[npt.NDArray[np.int32]], scratch: Path) -> Sizes:
    """The largest absolute value of every channel of the named activations (batch, sequence, channel), over rows of token ids.

    Parameters
    ----------
    scratch
        A file that may be written for the time being, as a graph may be too large to be handed over in memory.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    axes = helper.make_tensor("watched_axes", TensorProto.INT64, [2], [0, 1])
    watched.graph.initializer.append(axes)
    for place, name in enumerate(names):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"watched_size_{place}"]))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"watched_size_{place}", axes.name], [f"watched_{place}"], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(f"watched_{place}", TensorProto.FLOAT, None))
    written = save_graph(watched, scratch)
    outputs = [f"watched_{place}" for place in range(len(names))]
    largest: list[npt.NDArray[np.float32]] = []
    session = open_session(scratch)
    for ids in rows:  # one by one: padding is no activation that counts
        inputs = {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)}
        found = session.run(outputs, inputs)
        largest = [np.maximum(*pair) for pair in zip(largest, found, strict=True)] if largest else found
    for file in written:
        file.unlink()
    return dict(zip(names, largest, strict=True))


def outliers(size: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """The channels with the largest activations, in ascending order; none where no channel is far larger than the median one.

    >>> outliers(np.array([0.5, 9.0, 0.4, 0.6, 7.0], dtype=np.float32), 2).tolist()
    [1, 4]
    >>> outliers(np.array([0.5, 0.9, 0.4, 0.6, 0.7], dtype=np.float32), 2).tolist()
    []
    """
    few = count if size.max() >= _FAR_LARGER * np.median(size) else 0
    return np.sort(np.argsort(-size, kind="stable")[:few])
