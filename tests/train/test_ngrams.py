"""N-grams beside the encoder: what they add, by hand; when they are used; and that they travel with the model."""

import random
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from tests.conftest import tiny_settings
from train.encoder import BOS, EOS, Encoder, load_encoder
from train.model import MultiHeadClassifier, build_classifier
from train.ngrams import PieceNgrams, _salience, choose_strength, fit_ngrams, hashed, ngram_logits
from train.tokenised import TokenisedRows, collate

PIECES = range(100, 116)
FIRST, SECOND = 116, 117  # whose order tells


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    torch.manual_seed(0)
    return load_encoder(tiny_settings(tmp_path_factory.mktemp("encoder")).encoder)


def rows_of(encoder: Encoder, ids: list[list[int]], labels: list[int | None], languages: list[str]) -> TokenisedRows:
    """Rows of given pieces between a text's start and end."""
    rows = TokenisedRows(Dataset.from_dict({"text": [""] * len(ids), "language": languages, "said": labels}), encoder.tokenizer, ["said"])
    rows.ids = [np.asarray([BOS, *pieces, EOS], dtype=np.int32) for pieces in ids]
    return rows


def telling_rows(encoder: Encoder, count: int, seed: int) -> TokenisedRows:
    """Random pieces in three languages; a row's label is whether one of two comes right before the other, not after it."""
    choose = random.Random(seed)
    ids, labels = [], []
    for place in range(count):
        pieces, label, at = choose.sample(PIECES, k=8), place % 2, choose.randrange(7)
        pieces[at : at + 2] = [FIRST, SECOND] if label else [SECOND, FIRST]
        ids.append(pieces)
        labels.append(label)
    return rows_of(encoder, ids, labels, [("ps", "sd", "ur")[place // 2 % 3] for place in range(count)])


def test_the_sum_by_hand() -> None:
    ngrams = PieceNgrams(1000, 2)
    ids = torch.tensor([[7, 8, 7, 8]])
    (seven, eight), (forward, back) = ids[0, :2].tolist(), hashed(ids[0, :3], 1000)[1].tolist()
    assert len({seven, eight, forward, back}) == 4, "a pair is another n-gram than the pair turned round"
    assert forward == (7 * 1_000_003 + 8) % 1000
    ngrams.weight[[seven, eight, forward, back], 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    ngrams.bias[:] = torch.tensor([0.5, -0.5])
    assert ngrams(ids, torch.ones_like(ids)).tolist() == [[(2 * 1 + 2 * 10 + 2 * 100 + 1000) / 2 + 0.5, -0.5]]
    assert ngrams(ids, torch.tensor([[1, 1, 1, 0]])).tolist() == [[pytest.approx((2 * 1 + 10 + 100 + 1000) / 3**0.5 + 0.5), -0.5]]
    assert ngrams(ids, torch.zeros_like(ids)).tolist() == [[0.5, -0.5]]


@given(st.lists(st.integers(0, 250_001), min_size=2, max_size=40), st.integers(1, 2**18))
def test_every_ngram_has_a_bucket(ids: list[int], buckets: int) -> None:
    for places in hashed(torch.tensor(ids), buckets):
        assert ((places >= 0) & (places < buckets)).all()


def test_they_say_what_an_encoder_missed(encoder: Encoder) -> None:
    train, validation, test = (telling_rows(encoder, count, seed) for seed, count in enumerate((600, 120, 120)))
    blind = np.random.default_rng(0).normal(size=(120, 1)).astype(np.float32)
    ngrams, strengths = fit_ngrams(train, validation, blind, 2**14)
    assert strengths[0] > 0
    assert roc_auc_score(test.labels[:, 0], blind[:, 0] + ngram_logits(ngrams, test)[:, 0]) > 0.95
    steps = ngrams.weight[:, 0] / ngrams.weight.abs().max() * 127
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert abs(float(ngram_logits(ngrams, train).mean())) < 1e-4, "they leave the logits' mean as it was"


def test_they_are_left_out_where_chance_explains_what_they_bring(encoder: Encoder) -> None:
    train, validation = telling_rows(encoder, 600, 0), telling_rows(encoder, 120, 1)
    knowing = np.where(validation.labels == 1, 3.0, -3.0).astype(np.float32)
    assert fit_ngrams(train, validation, knowing, 2**14)[1] == [0.0]
    train.labels = np.random.default_rng(1).permutation(train.labels)  # nothing is to be learnt
    blind = np.random.default_rng(0).normal(size=(120, 1)).astype(np.float32)
    assert fit_ngrams(train, validation, blind, 2**14)[1] == [0.0]


def test_a_gain_that_is_sure_but_small_is_not_worth_it() -> None:
    labels = np.tile(np.repeat([1, 0], [200, 200]).astype(np.int8), 3)
    languages = [language for language in ("ps", "sd", "ur") for _ in range(400)]
    scores = np.where(labels == 1, 1.0, -1.0)
    logits = np.where(labels == 1, 1.0, -1.0).astype(np.float32)
    for wrong, strength in ((1, 0.0), (60, 1.0)):  # so many negatives of every language stand above all positives
        for start in (200, 600, 1000):
            logits[start : start + wrong] = 2.0
        assert choose_strength(logits, scores, labels, languages) == strength


def test_that_languages_gain_unlike_is_no_reason_against_it() -> None:
    labels = np.tile(np.repeat([1, 0], [200, 200]).astype(np.int8), 3)
    languages = [language for language in ("ps", "sd", "ur") for _ in range(400)]
    scores = np.where(labels == 1, 1.0, -1.0)
    logits = np.where(labels == 1, 1.0, -1.0).astype(np.float32)
    for start, wrong in ((200, 120), (600, 8), (1000, 8)):
        logits[start : start + wrong] = 2.0
    assert choose_strength(logits, scores, labels, languages) > 0


def test_what_a_bucket_is_worth_by_hand() -> None:
    features = csr_array(np.array([[2, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]]))
    truth, languages = np.array([1, 1, 0, 1, 0], np.int8), np.array([0, 0, 0, 2, 2])  # two positives of three, one of two
    often = [3, 4, 2, 0]
    positives, expected = [2, 2, 1, 0], [2, 2 / 3 * 2 + 1 / 2 * 2, 2 / 3 + 1 / 2, 0]
    rest = [(n - seen + 1) / (n - asked + 1) for n, seen, asked in zip(often, positives, expected, strict=True)]
    by_hand = [
        (log(6 / (n + 1)) + 1) * abs(log((seen + 1) / (asked + 1)) - log(other))
        for n, seen, asked, other in zip(often, positives, expected, rest, strict=True)
    ]
    assert by_hand[0] == 0, "met as often in positives as its language would have it"
    assert by_hand[3] == 0, "never met"
    np.testing.assert_allclose(_salience(features, truth, languages), by_hand, atol=1e-12)


def test_nothing_to_learn_or_to_judge_by_is_no_error(encoder: Encoder) -> None:
    train, validation = telling_rows(encoder, 40, 0), telling_rows(encoder, 40, 1)
    logits = np.zeros((40, 1), np.float32)
    train.labels = np.ones_like(train.labels)
    assert fit_ngrams(train, validation, logits, 2**14)[1] == [0.0]
    train, validation.labels = telling_rows(encoder, 40, 0), np.full_like(validation.labels, -100)
    ngrams, strengths = fit_ngrams(train, validation, logits, 2**14)
    assert strengths == [0.0]
    assert not ngrams.weight.any()


def test_a_language_s_words_are_not_blamed_for_its_share_of_positives(encoder: Encoder) -> None:
    choose = random.Random(0)
    own, share = {"ps": [100, 101], "sd": [102, 103], "ur": [104, 105]}, {"ps": 0.9, "sd": 0.1, "ur": 0.5}
    ids, labels, languages = [], [], []
    for place in range(900):
        language = ("ps", "sd", "ur")[place % 3]
        label = int(choose.random() < share[language])
        telling = FIRST if label == (choose.random() < 0.9) else SECOND
        ids.append([*own[language], telling, *choose.sample(PIECES[6:], k=3)])
        labels.append(label)
        languages.append(language)
    rows = rows_of(encoder, ids, labels, languages)
    ngrams, _ = fit_ngrams(rows, rows, np.random.default_rng(0).normal(size=(900, 1)).astype(np.float32), 2**14)
    asked = rows_of(encoder, [[100, 101], [102, 103], [FIRST], [SECOND]], [None] * 4, ["ps", "sd", "ur", "ur"])
    many, few, first, second = ngram_logits(ngrams, asked)[:, 0]
    assert abs(many - few) < 0.25 * abs(first - second)


def test_the_model_adds_them_saves_them_and_forgets_them(encoder: Encoder, tmp_path: Path) -> None:
    model = build_classifier(encoder, ["said"], "mean", 0.0).eval()
    rows = telling_rows(encoder, 30, 3)
    inputs = {name: part for name, part in collate([rows[place] for place in range(30)]).items() if name in ("input_ids", "attention_mask")}
    alone = model(**inputs).logits
    ngrams = PieceNgrams(512, 1)
    ngrams.weight.normal_()
    model.use_ngrams(ngrams)
    both = model(**inputs).logits
    np.testing.assert_allclose((both - alone).detach().numpy(), ngram_logits(ngrams, rows), atol=1e-5)
    model.save_pretrained(tmp_path / "model")
    torch.testing.assert_close(MultiHeadClassifier.from_pretrained(tmp_path / "model").eval()(**inputs).logits, both)
    model.use_ngrams(None)
    assert torch.equal(model(**inputs).logits, alone)
    model.save_pretrained(tmp_path / "without")
    torch.testing.assert_close(MultiHeadClassifier.from_pretrained(tmp_path / "without").eval()(**inputs).logits, alone)
