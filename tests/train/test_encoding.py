"""Tokenising from the cache gives what tokenising gives."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.conftest import tiny_settings
from train.encoder import load_encoder
from train.encoding import KEPT, encode

TEXTS = ["", "one two", "رُوول میں بارش", "long " * 200]


def listed(rows: list[np.ndarray]) -> list[list[int]]:
    return [row.tolist() for row in rows]


def test_a_second_time_reads_what_the_first_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_encoder(tiny_settings(tmp_path).encoder).tokenizer
    texts = TEXTS
    plain = listed(encode(texts, tokenizer))
    assert listed(encode(texts, tokenizer, tmp_path / "cache")) == plain
    (cached,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr("train.encoding._encoded", None)
    assert listed(encode(texts, tokenizer, tmp_path / "cache")) == plain
    monkeypatch.undo()
    cached.write_bytes(b"broken")
    assert listed(encode(texts, tokenizer, tmp_path / "cache")) == plain
    assert [max(map(len, plain)), len(plain[0])] == [64, 2], "cut at the encoder's length; an empty text is two special tokens"


def test_other_texts_and_other_tokenizers_are_other_entries(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_settings(tmp_path).encoder)
    short, cache = encoder.tokenizer, tmp_path / "cache"
    short.enable_truncation(3)
    for texts, tokenizer in ((["ab", "c"], encoder.tokenizer), (["a", "bc"], encoder.tokenizer), (["ab", "c"], short)):
        assert listed(encode(texts, tokenizer, cache)) == listed(encode(texts, tokenizer))
    assert len(list(cache.iterdir())) == 3
    for number in range(2 * KEPT):
        encode([str(number)], short, cache)
    assert len(list(cache.iterdir())) == KEPT


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_encoder(tiny_settings(tmp_path_factory.mktemp("any")).encoder).tokenizer


@settings(max_examples=25)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6))
def test_any_texts_survive_the_cache(texts: list[str], tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert listed(encode(texts, tokenizer, folder)) == listed(encode(texts, tokenizer, folder)) == listed(encode(texts, tokenizer))
