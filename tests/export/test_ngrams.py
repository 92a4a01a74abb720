"""A run whose n-grams help: they are in every graph, in 8 bits where the graph is int8, and a mean of runs begins without."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.bundle import export_release
from export.client import Classifier
from tests.conftest import prepare_rows, tiny_export, tiny_rows, tiny_settings
from train.averaging import average_runs
from train.encoding import encode
from train.run import Run, load_run
from train.stage import train

UNTAUGHT = ("trainer.max_steps=1", "projection.steps=1", "projection.texts=20")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose encoder took a single step, and its release."""
    folder = tmp_path_factory.mktemp("ngrams")
    prepare_rows(folder, tiny_rows())
    train(tiny_settings(folder, *UNTAUGHT))
    export_release(tiny_export(folder, release="tiny", releases_dir=str(folder / "releases")))
    return folder


@pytest.fixture(scope="module")
def run(workspace: Path) -> Run:
    return load_run(workspace / "runs" / "tiny" / "latest")


@torch.inference_mode()
def logits_of(run: Run, text: str) -> list[float]:
    ids = torch.from_numpy(encode([text], run.tokenizer)[0].astype(np.int64))[None]
    logits: list[float] = run.model(ids, torch.ones_like(ids)).logits[0].tolist()
    return logits


def test_a_word_that_tells_moves_the_logits(run: Run) -> None:
    assert run.record["figures"]["ngram_strength/propaganda"] > 0
    assert run.record["figures"]["ngram_strength/violence_glorification"] > 0
    (propaganda, violence), (plain, harmless) = logits_of(run, "tea qq sun zz"), logits_of(run, "tea milk sun rain")
    assert propaganda > plain + 0.3
    assert violence > harmless + 0.3


@pytest.mark.parametrize(("variant", "tolerance"), [("fp32", 1e-4), ("fp16", 0.01), ("int8", 0.05)])
def test_every_graph_has_them(workspace: Path, run: Run, variant: str, tolerance: float) -> None:
    classifier = Classifier(workspace / "releases" / "tiny" / "artifact", variant)
    texts = ["tea qq sun", "zz", "", "milk " * 100]
    assert classifier.run(texts)[0] == pytest.approx(np.asarray([logits_of(run, text) for text in texts]), abs=tolerance)


def test_int8_keeps_the_very_same_weights(workspace: Path, run: Run) -> None:
    graph = onnx.load(workspace / "releases" / "tiny" / "artifact" / "model.int8.onnx")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    (name,) = (name for name in weights if name.endswith("ngrams.weight_int8"))
    assert weights[name].dtype == np.int8
    scale = weights[name.replace("_int8", "_scale")]
    assert scale.shape == (2,)
    assert run.model.ngrams is not None
    np.testing.assert_allclose(weights[name] * scale, run.model.ngrams.weight.detach().numpy(), rtol=1e-6)


def test_a_mean_of_runs_begins_without(workspace: Path, run: Run) -> None:
    """It gets its own, as any other run: strengths that suit one encoder need not suit the mean."""
    settings = tiny_settings(workspace, *UNTAUGHT, f"average=[{run.folder},{run.folder}]")
    assert average_runs(settings)[0].ngrams is None


def test_none_are_used_where_none_are_asked_for(workspace: Path) -> None:
    without = load_run(train(tiny_settings(workspace, *UNTAUGHT, "name=without", "ngram_buckets=0")))
    assert without.model.ngrams is None
    assert without.record["figures"]["ngram_strength/propaganda"] == 0
