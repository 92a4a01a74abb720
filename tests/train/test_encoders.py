"""Where encoders come from: the pinned package, a local folder, and a clear word when the hub is out of reach."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, XLMRobertaConfig, XLMRobertaModel

from data_prep.command import UserError
from train.encoder import load_encoder
from train.model import build_classifier
from train.packaged_encoder import packaged_file, read_packaged
from train.settings import EncoderSettings


@pytest.mark.skipif(packaged_file() is None, reason="the encoder's package has no build for this platform")
def test_the_packaged_encoder_understands_across_languages() -> None:
    path = packaged_file()
    assert path is not None
    packaged = read_packaged(path)
    assert (packaged.config.vocab_size, len(packaged.pieces)) == (250_037, 250_002)
    expected = dict(XLMRobertaModel(packaged.config, add_pooling_layer=False).named_parameters())
    assert {name: tensor.shape for name, tensor in packaged.tensors.items()} == {name: tensor.shape for name, tensor in expected.items()}

    encoder = load_encoder(EncoderSettings(name="packaged_e5", kind="packaged"))
    model = build_classifier(encoder, ["a"], "mean", 0.1).eval()
    texts = [
        "query: The weather is nice today.",
        "query: آج موسم اچھا ہے۔",
        "query: Сегодня хорошая погода.",
        "query: The bank raised its interest rates.",
    ]
    with torch.inference_mode():
        vectors = [
            model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long)).sentence_embedding[0]
            for ids in (encoder.tokenizer.encode(text).ids for text in texts)
        ]
    same = min(float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2]))
    other = max(float(vectors[index] @ vectors[3]) for index in range(3))
    assert same > other + 0.05


def test_a_changed_package_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S1 not the pinned file")
    with pytest.raises(UserError, match="not the pinned encoder file"):
        read_packaged(tmp_path / "e5-small-q4.bin")


def test_a_local_folder_in_hub_format_loads(tmp_path: Path) -> None:
    pieces = [
        ["<s>", 0.0],
        ["<pad>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["▁", -2.0],
        *([letter, -5.0] for letter in "abcde"),
        ["<mask>", 0.0],
    ]
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=34,
        type_vocab_size=1,
    )
    XLMRobertaModel(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": pieces}}), encoding="utf-8")
    encoder = load_encoder(EncoderSettings(name="xlmr_base", kind="hub", path=str(tmp_path), max_length=32))
    assert encoder.tokenizer.encode("a b").tokens == ["<s>", "▁", "a", "▁", "b", "</s>"]
    random = load_encoder(EncoderSettings(name="xlmr_base", kind="hub", path=str(tmp_path), max_length=32, pretrained=False))
    weights = [loaded.model.embeddings.word_embeddings.weight for loaded in (encoder, random)]
    assert weights[0].shape == weights[1].shape
    assert not torch.equal(*weights)


def save_tokenizer(folder: Path, kind: str = "Unigram") -> None:
    pieces = [*(["<s>", "<pad>", "</s>", "<unk>"]), "▁", *"abcde"]
    document = {"model": {"type": kind, "vocab": [[piece, 0.0] for piece in pieces]}}
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")


def test_bert_with_a_unigram_vocabulary_computes_what_it_did(tmp_path: Path) -> None:
    """As the small encoders of the E5 family are published: positions from 0, two token types."""
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertModel(BertConfig(vocab_size=12, max_position_embeddings=16, **shape), add_pooling_layer=False).eval()
    bert.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = load_encoder(EncoderSettings(name="e5", kind="hub", path=str(tmp_path), max_length=16))
    ids, mask = torch.tensor([[0, 6, 7, 2, 1], [0, 8, 9, 5, 2]]), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    assert [piece for piece, _ in encoder.pieces] == ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcde"]
    with torch.inference_mode():
        ours = encoder.model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        theirs = bert(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[mask == 1], theirs[mask == 1])


def test_the_lowest_layers_alone_compute_what_the_whole_encoder_has_at_that_depth() -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    settings = EncoderSettings(name="random", kind="random", max_length=16, shape=shape)
    torch.manual_seed(0)
    whole = load_encoder(settings).model.eval()
    torch.manual_seed(0)
    lowest = load_encoder(replace(settings, layers=2)).model.eval()
    assert lowest.config.num_hidden_layers == 2
    inputs = {"input_ids": torch.tensor([[0, 6, 7, 2]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.inference_mode():
        depths = whole(**inputs, output_hidden_states=True).hidden_states
        torch.testing.assert_close(lowest(**inputs).last_hidden_state, depths[2])
    assert not torch.equal(depths[2], depths[3])


def test_more_layers_than_there_are_is_an_error() -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(UserError, match=r"encoder\.layers=4 is more than the encoder has: use at most 3"):
        load_encoder(EncoderSettings(name="random", kind="random", max_length=16, shape=shape, layers=4))


@pytest.mark.parametrize(("config", "kind"), [(BertConfig(), "WordPiece"), (GPT2Config(), "Unigram")])
def test_another_architecture_is_refused(config: BertConfig | GPT2Config, kind: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, kind)
    with pytest.raises(UserError, match=f"is {config.model_type} with a {kind} tokenizer"):
        load_encoder(EncoderSettings(name="other", kind="hub", path=str(tmp_path)))


@pytest.mark.parametrize("path", ["FacebookAI/xlm-roberta-base", "no/such-folder"])
def test_an_unreachable_hub_is_one_message_with_the_ways_out(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(os.environ, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load_encoder(EncoderSettings(name="xlmr_base", kind="hub", path=path))
    for part in (path, "hf download", "encoder.path=", "experiment=quickstart"):
        assert part in str(caught.value)
