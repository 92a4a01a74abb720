"""Any text through the client: no crash, no control id that the text wrote itself, and the training stack's answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.client import Classifier
from train.encoder import BOS, EOS, PAD
from train.run import Run, load_run

# Characters of every plane and category, unpaired surrogates too, and the strings that evasions are made of.
TEXT = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.characters(categories=["Cs"]),
        st.sampled_from(["<s>", "</s>", "<pad>", "<mask>", "<unk>", "<\u200b/s>", "＜pad＞", "\u0000", "\u202e", "ﷺ", "a" * 300]),
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def both(tiny_workspace: Path) -> tuple[Classifier, Run]:
    run = load_run(tiny_workspace / "runs" / "tiny" / "latest")
    run.tokenizer.no_padding()
    return Classifier(tiny_workspace / "releases" / "tiny" / "artifact"), run


@settings(max_examples=1000, deadline=None)
@given(text=TEXT)
def test_any_text_is_scored_as_in_training(both: tuple[Classifier, Run], text: str) -> None:
    classifier, run = both
    (ids,) = classifier.encode([text])
    assert (ids[0], ids[-1]) == (BOS, EOS)
    assert not {BOS, PAD, EOS, len(run.tokenizer.get_vocab()) - 1} & set(ids[1:-1]), "a control token out of a user's text"
    assert len(ids) <= classifier.contract["max_length"]

    logits, _ = classifier.run([text])
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    trained_ids = torch.tensor([run.tokenizer.encode(whole).ids])
    with torch.inference_mode():
        trained = run.model(trained_ids, torch.ones_like(trained_ids)).logits.numpy()
    assert np.abs(logits - trained).max() < 1e-4
    for column, head in enumerate(classifier.contract["heads"]):
        policy = run.policy.heads[head]
        probability, _ = classifier.decide(head, "en", float(logits[0, column]))
        threshold = policy.threshold_of("en")
        expected = policy.probability(trained[:, column], ["en"])[0]
        assert abs(probability - expected) < 1e-4
        assert (probability >= threshold) == (expected >= threshold)


def test_a_text_scores_the_same_alone_and_among_others(tiny_workspace: Path) -> None:
    """Also in 8 bits: activations are scaled per token, so neighbours in a batch and padding change nothing."""
    texts = ["sun zz rain", "tea", "milk qq sun tea zz " * 6, "!", ""]
    for variant in ("fp32", "int8"):
        classifier = Classifier(tiny_workspace / "releases" / "tiny" / "artifact", variant)
        together = classifier.run(texts)[0]
        three = Classifier(tiny_workspace / "releases" / "tiny" / "artifact", variant, workers=3)
        three.tokens_per_batch = 16  # so that there is more than one batch
        side_by_side = three.run(texts)[0]
        alone = np.concatenate([classifier.run([text])[0] for text in texts])
        assert np.abs(together - alone).max() < 2e-3, variant
        assert np.abs(side_by_side - alone).max() < 2e-3, variant


def test_per_language_calibrations_are_honoured(tiny_workspace: Path) -> None:
    classifier = Classifier(tiny_workspace / "releases" / "tiny" / "artifact")
    of_urdu = {"temperature": 4.0, "intercept": -2.0, "threshold": 0.5}
    classifier.policy["heads"]["propaganda"].update(temperature=1.0, intercept=0.5, languages={"ur": of_urdu})
    assert np.isclose(classifier.decide("propaganda", "ur", 4.0)[0], 1 / (1 + np.exp(1)))
    assert np.isclose(classifier.decide("propaganda", "en", 4.0)[0], 1 / (1 + np.exp(-4.5)))


def test_an_unknown_variant_names_the_known_ones(tiny_workspace: Path) -> None:
    with pytest.raises(ValueError, match="choose one of fp16, fp32, int8"):
        Classifier(tiny_workspace / "releases" / "tiny" / "artifact", "int4")
