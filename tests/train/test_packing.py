"""Rows packed one after the other give what padded rows give."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.files import read_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.encoder import load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.packing import PACKED
from train.settings import EncoderSettings
from train.stage import train

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module", params=["mean", "first"])
def model(request: pytest.FixtureRequest) -> MultiHeadClassifier:
    torch.manual_seed(0)
    encoder = load_encoder(EncoderSettings(name="tiny", kind="random", max_length=64, shape=SHAPE))
    return build_classifier(encoder, ["a", "b"], request.param, 0.0).eval()


def batch(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 50, mask.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(mask == 1, ids, 1), mask


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(0, 99))
def test_outputs_and_gradients_are_those_of_padded_rows(model: MultiHeadClassifier, lengths: list[int], seed: int) -> None:
    found = {}
    for attention in ("eager", "sdpa", PACKED):
        model.set_attn_implementation(attention)
        model.zero_grad()
        output = model(*batch(lengths, seed))
        (output.logits**2).sum().backward()
        gradient = model.roberta.encoder.layer[0].attention.self.query.weight.grad
        assert gradient is not None
        found[attention] = (output.logits.detach(), output.sentence_embedding.detach(), gradient.clone())
    for one, other in (("eager", PACKED), ("sdpa", PACKED)):
        for mine, theirs in zip(found[one], found[other], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


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
def test_flash_attention_on_a_gpu_agrees_in_bfloat16(model: MultiHeadClassifier) -> None:
    ids, mask = (part.cuda() for part in batch([3, 17, 64, 40]))
    found = []
    for attention in ("sdpa", PACKED):
        model.cuda().set_attn_implementation(attention)
        with torch.autocast("cuda", torch.bfloat16), torch.inference_mode():
            found.append(model(ids, mask).logits)
    torch.testing.assert_close(*found, atol=2e-2, rtol=2e-2)
