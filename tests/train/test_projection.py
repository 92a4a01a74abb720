"""The embedding finds edited copies, and training it leaves the classifier as it was."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_settings
from train.edits import prefixed, with_words_dropped
from train.encoder import Encoder, load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.projection import add_projection, pooled_vectors
from train.settings import ProjectionSettings


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    torch.manual_seed(0)
    return load_encoder(tiny_settings(tmp_path).encoder)


def found_copies(model: MultiHeadClassifier, encoder: Encoder, texts: list[str], copies: list[str]) -> float:
    """Share of the copies whose nearest text is their own."""
    embeddings = []
    for group in (texts, copies):
        vectors = torch.from_numpy(pooled_vectors(model, encoder.tokenizer, group))
        projected = vectors if model.config.embedding_dimension is None else model.projection(vectors)
        embeddings.append(torch.nn.functional.normalize(projected, dim=-1).detach().numpy())
    nearest = (embeddings[1] @ embeddings[0].T).argmax(axis=1)
    return float((nearest == np.arange(len(texts))).mean())


def test_copies_are_nearer_after_training_and_logits_stay(encoder: Encoder) -> None:
    model = build_classifier(encoder, ["a", "b"], "mean", 0.0).eval()
    letters = random.Random(0)
    texts = [" ".join("".join(letters.choices("abcdefghijklm", k=5)) for _ in range(8)) for _ in range(600)]
    learnt, unseen = texts[:500], texts[500:]
    copies = [prefixed(with_words_dropped(text)) for text in unseen]
    ids = torch.randint(5, 50, (3, 9))
    before = model(ids, torch.ones_like(ids)).logits
    plain = found_copies(model, encoder, unseen, copies)
    add_projection(model, encoder.tokenizer, learnt, ProjectionSettings(dimension=16), seed=1)
    output = model(ids, torch.ones_like(ids))
    assert found_copies(model, encoder, unseen, copies) > plain + 0.1
    assert torch.equal(output.logits, before)
    assert output.sentence_embedding.shape == (3, 16)
    assert torch.allclose(output.sentence_embedding.norm(dim=-1), torch.ones(3))


def test_it_is_the_same_for_the_same_seed_and_stored_with_the_model(encoder: Encoder, tmp_path: Path) -> None:
    weights = []
    for _ in range(2):
        model = build_classifier(encoder, ["a"], "mean", 0.0).eval()
        add_projection(model, encoder.tokenizer, ["one text", "another text", "a third"], ProjectionSettings(dimension=8, steps=5), seed=3)
        weights.append(model.projection.weight)
    assert torch.equal(*weights)
    model.save_pretrained(tmp_path / "model")
    loaded = MultiHeadClassifier.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(5, 50, (2, 6))
    found, stored = (each(ids, torch.ones_like(ids)).sentence_embedding for each in (loaded, model))
    assert torch.allclose(found, stored, atol=1e-5)


def test_the_dimension_is_at_most_the_encoders(encoder: Encoder) -> None:
    model = build_classifier(encoder, ["a"], "mean", 0.0).eval()
    add_projection(model, encoder.tokenizer, ["one", "two"], ProjectionSettings(dimension=500, steps=1), seed=3)
    assert model.config.embedding_dimension == model.config.hidden_size
