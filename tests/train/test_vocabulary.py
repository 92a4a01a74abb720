"""Folding and trimming change which embedding rows there are, never what a kept text means to the model."""

import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from train.encoder import Encoder, fold_vocabulary, load_encoder, trim_vocabulary
from train.settings import EncoderSettings

WORDS = ["▁هذا", "▁هٰذا", "▁كتاب", "▁کتاب", "▁في", "▁tea", "▁bread", "▁rare", "▁＜pad＞"]
CHARACTERS = list("abcdefghijklmnopqrstuvwxyzہذاکتبفیو字")


def toy_encoder() -> Encoder:
    torch.manual_seed(0)
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(word, -5.0 - index / 10) for index, word in enumerate(WORDS)] + [(character, -9.0) for character in CHARACTERS]
    pieces.append(("<mask>", 0.0))
    config = XLMRobertaConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=34, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    return Encoder(XLMRobertaModel(config, add_pooling_layer=False).eval(), pieces, 32)


def hidden(encoder: Encoder, text: str) -> torch.Tensor:
    with torch.inference_mode():
        return encoder.model(input_ids=torch.tensor([encoder.tokenizer.encode(text).ids])).last_hidden_state


def words(encoder: Encoder, text: str) -> list[str]:
    return [encoder.pieces[index][0] for index in encoder.tokenizer.encode(text).ids[1:-1]]


def test_folding_lets_arabic_and_persian_spellings_meet_one_piece() -> None:
    encoder = fold_vocabulary(toy_encoder())
    assert words(encoder, "هذا كتاب في") == ["▁ہذا", "▁کتاب", "▁فی"]
    assert words(encoder, "کتاب") == ["▁کتاب"]


def test_of_colliding_pieces_the_most_frequent_keeps_its_embedding() -> None:
    original = toy_encoder()
    row = original.model.embeddings.word_embeddings.weight[[piece for piece, _ in original.pieces].index("▁كتاب")].clone()
    folded = fold_vocabulary(original)
    kept = folded.model.embeddings.word_embeddings.weight[[piece for piece, _ in folded.pieces].index("▁کتاب")]
    assert torch.equal(row, kept)


def test_folding_drops_pieces_that_would_spell_special_tokens() -> None:
    assert not [piece for piece, _ in fold_vocabulary(toy_encoder()).pieces[4:-1] if "pad" in piece]


def test_trimming_keeps_what_texts_use_and_their_hidden_states() -> None:
    encoder = fold_vocabulary(toy_encoder())
    texts = ["هذا كتاب", "tea bread xyz"]
    before = [(words(encoder, text), hidden(encoder, text)) for text in texts]
    size = len(encoder.pieces)
    trimmed = trim_vocabulary(encoder, texts, reserve=0)
    assert len(trimmed.pieces) < size == 5 + 6 + len(CHARACTERS) + 1
    assert "▁rare" not in [piece for piece, _ in trimmed.pieces]
    assert "字" not in [piece for piece, _ in trimmed.pieces], "no text is in its script"
    for text, (pieces, states) in zip(texts, before, strict=True):
        assert words(trimmed, text) == pieces
        torch.testing.assert_close(hidden(trimmed, text), states, atol=1e-5, rtol=0)


def test_an_unseen_word_is_spelled_not_unknown() -> None:
    trimmed = trim_vocabulary(fold_vocabulary(toy_encoder()), ["tea"], reserve=0)
    assert words(trimmed, "rare") == ["▁", "r", "a", "r", "e"]


def test_the_reserve_is_shared_equally_by_the_scripts_of_the_texts() -> None:
    trimmed = trim_vocabulary(fold_vocabulary(toy_encoder()), ["c", "字", "ت"], reserve=6)
    kept = {piece for piece, _ in trimmed.pieces}
    assert {"▁", "字", "▁ہذا", "▁tea", "▁کتاب", "▁bread"} <= kept
    assert "▁فی" not in kept, "more frequent than ▁tea, and the third of its script"


def test_no_reserve_goes_to_a_script_that_no_text_is_written_in() -> None:
    trimmed = trim_vocabulary(fold_vocabulary(toy_encoder()), ["bread"], reserve=100)
    kept = {piece for piece, _ in trimmed.pieces}
    assert {"▁tea", "▁rare"} <= kept
    assert not {"▁ہذا", "字"} & kept


def test_random_weights_and_truncation() -> None:
    encoder = load_encoder(
        EncoderSettings(
            name="tiny",
            kind="random",
            max_length=16,
            shape={"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8},
        )
    )
    assert len(encoder.tokenizer.encode("word " * 100).ids) == 16
    assert encoder.model.embeddings.word_embeddings.num_embeddings == len(encoder.pieces)


@pytest.mark.parametrize("text", ["", "   ", "\u200b"])
def test_an_empty_text_is_start_and_end(text: str) -> None:
    assert toy_encoder().tokenizer.encode(text).ids == [0, 2]
