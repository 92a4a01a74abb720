"""A Triton model repository: one model per variant, its configuration written from the graph it describes."""

import os
import re
import shutil
from pathlib import Path

import onnx

from data_prep.command import UserError
from data_prep.files import write_text

_TYPES = {onnx.TensorProto.INT64: "TYPE_INT64", onnx.TensorProto.FLOAT: "TYPE_FP32"}
# not KIND_GPU for fp16: a server without a GPU would refuse to start, and serve none of the others either
_INSTANCE = {"fp32": "KIND_AUTO", "fp16": "KIND_AUTO", "int8": "KIND_CPU"}
MAX_BATCH = 64


def write_repository(folder: Path, variant: str, files: list[Path]) -> None:
    """Write `folder/classifier_<variant>/`: `config.pbtxt`, and in `1/` the graph (and its weights' file, if it has one).

    The graphs are hard links where the file system has them, so that they take their space once.

    Raises
    ------
    UserError
        If the configuration does not fit the graph.
    """
    name = f"classifier_{variant}"
    version = folder / name / "1"
    version.mkdir(parents=True)
    graph = onnx.load(files[0], load_external_data=False).graph
    for file in files:
        # an external weights file is named inside the graph and keeps its name
        target = version / ("model.onnx" if file.suffix == ".onnx" else file.name)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {MAX_BATCH}", "dynamic_batching { }"]
    lines.append(f"instance_group [ {{ kind: {_INSTANCE[variant]} }} ]")
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            data_type, dims = _TYPES[value.type.tensor_type.elem_type], ", ".join(str(size) for size in _dims(value))
            lines.append(f'{kind} [ {{ name: "{value.name}" data_type: {data_type} dims: [ {dims} ] }} ]')
    write_text(folder / name / "config.pbtxt", "\n".join(lines) + "\n")
    check_repository(folder / name)


def check_repository(folder: Path) -> None:
    """Compare a model's `config.pbtxt` with its graph: names, types, and sizes of every axis but the batch.

    Raises
    ------
    UserError
        If they differ.
    """
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    said = {
        (kind, name, data_type, tuple(int(size) for size in dims.split(",")))
        for kind, name, data_type, dims in re.findall(
            r'(input|output) \[ \{ name: "(\w+)" data_type: (\w+) dims: \[ ([-\d, ]+) \] \} \]', text
        )
    }
    graph = onnx.load(folder / "1" / "model.onnx", load_external_data=False).graph
    are = {
        (kind, value.name, _TYPES.get(value.type.tensor_type.elem_type, "unknown"), _dims(value))
        for kind, values in (("input", graph.input), ("output", graph.output))
        for value in values
    }
    if said != are:
        raise UserError(f"{folder / 'config.pbtxt'} does not describe its graph ({sorted(said ^ are)}): export the release again")


def _dims(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(axis.dim_value or -1 for axis in value.type.tensor_type.shape.dim[1:])
