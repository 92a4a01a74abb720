"""The Triton repository describes the graphs it holds."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.command import UserError
from export.parity import open_session
from export.triton import check_repository


@pytest.mark.parametrize(("variant", "kind"), [("fp32", "KIND_AUTO"), ("fp16", "KIND_AUTO"), ("int8", "KIND_CPU")])
def test_the_configuration_is_the_graphs(artifact: Path, variant: str, kind: str) -> None:
    folder = artifact / "triton" / f"classifier_{variant}"
    check_repository(folder)
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    assert f'name: "classifier_{variant}"\nbackend: "onnxruntime"\nmax_batch_size: 64\n' in config
    assert kind in config
    assert 'input [ { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] } ]' in config
    assert 'output [ { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 32 ] } ]' in config
    ids = np.array([[0, 5, 2]])
    outputs = open_session(folder / "1" / "model.onnx").run(["sentence_embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert outputs[0].shape == (1, 32)


@pytest.mark.parametrize(("says", "instead"), [("[ 32 ]", "[ 33 ]"), ("TYPE_INT64", "TYPE_INT32"), ('"logits"', '"logit"')])
def test_a_configuration_of_another_graph_is_refused(artifact: Path, says: str, instead: str) -> None:
    folder = artifact / "triton" / "classifier_fp32"
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    assert says in config
    (folder / "config.pbtxt").write_text(config.replace(says, instead, 1), encoding="utf-8")
    with pytest.raises(UserError, match="does not describe its graph"):
        check_repository(folder)
