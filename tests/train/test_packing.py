"""Rows packed one after the other give what padded rows give."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate.utils import send_to_device
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

from data_prep.files import read_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.encoder import load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.packing import PACKED
from train.settings import EncoderSettings
from train.stage import train
from train.tokenised import Item, collate, text_inputs
from train.trainer import compiled_layers

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module", params=["mean", "first"])
def model(request: pytest.FixtureRequest) -> MultiHeadClassifier:
    torch.manual_seed(0)
    encoder = load_encoder(EncoderSettings(name="tiny", kind="random", max_length=64, shape=SHAPE))
    return build_classifier(encoder, ["a", "b"], request.param, 0.0).eval()


def rows(lengths: list[int], seed: int = 0) -> list[Item]:
    draw = torch.Generator().manual_seed(seed)
    return [{"input_ids": torch.randint(5, 50, (length,), generator=draw).tolist(), "labels": [0, 1], "language": 0} for length in lengths]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(0, 99))
def test_outputs_and_gradients_are_those_of_padded_rows(model: MultiHeadClassifier, lengths: list[int], seed: int) -> None:
    found = {}
    for attention in ("eager", "sdpa", PACKED):
        model.set_attn_implementation(attention)
        model.zero_grad()
        output = model(**text_inputs(collate(rows(lengths, seed), packed=attention == PACKED)))
        (output.logits**2).sum().backward()
        gradient = model.roberta.encoder.layer[0].attention.self.query.weight.grad
        assert gradient is not None
        found[attention] = (output.logits.detach(), output.sentence_embedding.detach(), gradient.clone())
    for one, other in (("eager", PACKED), ("sdpa", PACKED)):
        for mine, theirs in zip(found[one], found[other], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_padded_rows_are_refused_by_packed_attention(model: MultiHeadClassifier) -> None:
    """Or a row would attend to its padding."""
    model.set_attn_implementation(PACKED)
    with pytest.raises(TypeError, match="cu_seq_lens_q"):
        model(**text_inputs(collate(rows([3, 5]))))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, while it compiles
@pytest.mark.parametrize("model", ["mean"], indirect=True)
def test_compiled_layers_give_what_others_give(model: MultiHeadClassifier) -> None:
    """Packed and of several sizes, from one compilation for all layers and lengths."""
    torch.compiler.reset()
    model.set_attn_implementation(PACKED)
    compiled = CompileCounter()
    for lengths in ([4, 9], [7, 3, 12], [2], [5, 5, 5, 20]):
        inputs = text_inputs(collate(rows(lengths), packed=True))
        expected = model(**inputs).logits
        with compiled_layers(model, backend=compiled):
            found = model(**inputs).logits
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert 1 <= compiled.frame_count <= 3, "a size of 1 or 2 may be a graph of its own"


def test_a_run_learns_the_same_packed_as_padded(tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows(120))
    losses = {}
    for packed in (False, True):
        settings = tiny_settings(
            tmp_path, f"trainer.packed={packed}", "trainer.dropout=0", "trainer.epochs=2", "trainer.learning_rate=1e-3"
        )
        losses[packed] = read_json(train(settings) / "run.json")["figures"]["train_loss"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash attention needs a GPU")
@pytest.mark.parametrize("compiling", [False, True])
def test_flash_attention_on_a_gpu_agrees_in_bfloat16(model: MultiHeadClassifier, compiling: bool) -> None:
    found, gradients = [], []
    for attention in ("sdpa", PACKED):
        model.cuda().set_attn_implementation(attention)
        model.zero_grad()
        inputs = send_to_device(text_inputs(collate(rows([3, 17, 64, 40]), packed=attention == PACKED)), "cuda")
        with compiled_layers(model) if compiling and attention == PACKED else nullcontext(), torch.autocast("cuda", torch.bfloat16):
            found.append(model(**inputs).logits)
            found[-1].sum().backward()
        gradient = model.roberta.encoder.layer[0].attention.self.query.weight.grad
        assert gradient is not None
        gradients.append(gradient.clone())
    torch.testing.assert_close(*found, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(*gradients, atol=2e-2 * float(gradients[0].abs().max()), rtol=5e-2)
