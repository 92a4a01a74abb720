"""Copies of posts are found by a recipe that others can follow, at a rate of false matches that was asked for."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.files import read_json
from export.bundle import distinct_texts
from export.client import Classifier
from export.match import SLOTS, Fingerprints, find_matches, main, signature
from export.mirror import calibrate
from export.settings import MirrorSettings


def grams(text: str) -> set[str]:
    return {text[start : start + 4] for start in range(max(1, len(text) - 3))}


def test_a_signature_by_hand() -> None:
    def hashed(name: str) -> int:
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")

    for slot in (0, 1, SLOTS - 1):
        factor, shift = hashed(f"factor{slot}") | 1, hashed(f"shift{slot}") | 1
        expected = min((hashed(gram) * factor + shift) % 2**64 >> 32 for gram in ("abcd", "bcde"))
        assert signature("abcde")[slot] == expected
    assert signature("ab").shape == (SLOTS,)


@given(st.text(min_size=4, max_size=80), st.text(min_size=4, max_size=80))
def test_equal_slots_estimate_the_jaccard_similarity(one: str, other: str) -> None:
    exact = len(grams(one) & grams(other)) / len(grams(one) | grams(other))
    # 128 draws: five standard deviations of a proportion
    assert abs(float((signature(one) == signature(other)).mean()) - exact) <= 5 * max(exact * (1 - exact) / SLOTS, 1e-4) ** 0.5


@pytest.fixture(scope="module")
def texts() -> list[str]:
    letters = random.Random(3)
    return [" ".join("".join(letters.choices("abcdefghijklmnop", k=5)) for _ in range(letters.randint(3, 25))) for _ in range(900)]


@pytest.fixture(scope="module")
def classifier(tiny_workspace: Path) -> Classifier:
    return Classifier(tiny_workspace / "releases" / "tiny" / "artifact")


def test_the_rate_of_false_matches_is_the_one_asked_for(classifier: Classifier, texts: list[str]) -> None:
    recipe = calibrate(classifier, texts[:600], MirrorSettings(false_match_rate=0.1, bank=400, queries=200))
    assert all(band["cosine"] is not None for band in recipe["bands"] if band["queries"] > 20)
    bank, posts = Fingerprints(classifier, texts[:400]), Fingerprints(classifier, texts[600:])
    false = list(find_matches(posts, bank, recipe["bands"]))
    assert len(false) / 300 < 0.1 + 3 * (0.1 * 0.9 / 300) ** 0.5
    assert {match.post for match in find_matches(bank, bank, recipe["bands"])} == set(range(400)), "every post matches itself"
    assert all(match.entry == match.post for match in find_matches(bank, bank, recipe["bands"]))


def test_too_few_texts_give_no_threshold_and_no_match(classifier: Classifier, texts: list[str]) -> None:
    for some in ([], texts[:50]):
        recipe = calibrate(classifier, some, MirrorSettings())
        assert all(band["cosine"] is None for band in recipe["bands"])
        assert "too few" in recipe["note"]
        prints = Fingerprints(classifier, some)
        assert list(find_matches(prints, prints, recipe["bands"])) == []


def test_what_is_masked_tells_nothing(classifier: Classifier) -> None:
    """Two links, handles or numbers are no copies of each other, nor is what is equal and says nothing."""
    posts = [
        "https://a.example/x",
        "@one https://a.example/x",
        "+00 000 000 0001",
        "",
        "ok: https://a.example/x",
        "tea at noon https://a.example/x",
    ]
    bank = [
        "https://b.example/y",
        "@two www.b.example",
        "+00 000 000 0002",
        "",
        "ok: https://b.example/y",
        "tea at noon https://b.example/y",
    ]
    bands: list[dict[str, Any]] = [{"from": 0, "to": None, "cosine": 0.99, "jaccard": 0.9}]
    matches = find_matches(Fingerprints(classifier, posts), Fingerprints(classifier, bank), bands)
    assert [(match.post, match.entry) for match in matches] == [(5, 5)]


def test_bands_are_of_the_posts_own_length(classifier: Classifier) -> None:
    bands: list[dict[str, Any]] = [
        {"from": 0, "to": 10, "cosine": None, "jaccard": None},
        {"from": 10, "to": None, "cosine": None, "jaccard": 1.0},
    ]
    posts = Fingerprints(classifier, ["short", "longer than ten"])
    assert [(match.post, match.entry) for match in find_matches(posts, posts, bands)] == [(1, 1)]


def test_one_text_of_each_family_of_the_training_rows() -> None:
    columns = {"text": ["a", "b", "c", "d"], "family": ["x", "x", "y", "z"], "split": ["train", "train", "train", "test"]}
    assert distinct_texts(columns) == ["a", "c"]  # type: ignore[arg-type]
    assert distinct_texts("no data") == []


@pytest.fixture
def artifact(tiny_workspace: Path, tmp_path: Path, classifier: Classifier, texts: list[str]) -> Path:
    """A copy of the tiny release with thresholds that a small mixture cannot have."""
    release = tmp_path / "release"
    (release / "artifact").mkdir(parents=True)
    for path in (tiny_workspace / "releases" / "tiny" / "artifact").iterdir():
        if path.is_file():
            (release / "artifact" / path.name).symlink_to(path)
    assert all(band["cosine"] is None for band in read_json(release / "artifact" / "mirror.json")["bands"])
    (release / "artifact" / "mirror.json").unlink()
    recipe = calibrate(classifier, texts[:600], MirrorSettings(false_match_rate=0.1, bank=400, queries=200))
    (release / "artifact" / "mirror.json").write_text(json.dumps(recipe), encoding="utf-8")
    return release


def lines(path: Path, *posts: Any) -> Path:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def test_the_command_prints_matches(artifact: Path, tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    bank = lines(tmp_path / "bank.jsonl", {"id": "r1", "text": texts[0]}, {"id": "r2", "text": texts[700]})
    posts = lines(tmp_path / "posts.jsonl", {"text": texts[700] + "\u200b"}, {"id": "new", "text": texts[1]})
    assert main([f"release={artifact}", f"bank={bank}", f"posts={posts}"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"post": 1, "bank": "r2", "cosine": 1.0, "jaccard": 1.0}


def test_posts_of_a_length_without_thresholds_are_told(
    artifact: Path, tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = read_json(artifact / "artifact" / "mirror.json")
    recipe["bands"][0] |= {"cosine": None, "jaccard": None}
    recipe["note"] = "600 texts were too few to calibrate 1 of 3 bands"
    (artifact / "artifact" / "mirror.json").write_text(json.dumps(recipe), encoding="utf-8")
    bank = lines(tmp_path / "bank.jsonl", {"text": "tea at noon"}, {"id": "رُوول", "text": texts[700] + texts[701]})
    assert main([f"release={artifact}", f"bank={bank}", f"posts={bank}"]) == 0
    said = capsys.readouterr()
    assert "1 of 2 posts are of a length without thresholds and match nothing: 600 texts were too few" in said.err
    (line,) = said.out.splitlines()
    assert line.isascii(), "whatever a console can print"
    assert json.loads(line)["bank"] == "رُوول"


def test_the_shipped_file_runs_by_itself(artifact: Path, tmp_path: Path, texts: list[str]) -> None:
    bank = lines(tmp_path / "bank.jsonl", {"text": texts[5]})
    for name in ("match.py", "predict.py"):  # not links: a script's folder is where it really lies
        content = (artifact / "artifact" / name).read_text(encoding="utf-8")
        (artifact / "artifact" / name).unlink()
        (artifact / "artifact" / name).write_text(content, encoding="utf-8")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(artifact / "artifact" / "match.py"), f"bank={bank}", f"posts={bank}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=alone, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bank"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bank=none.jsonl"], "there is no file none.jsonl"),
        (["colour=red"], "colour is no option"),
        (["release=nowhere"], "no artifact with a mirror.json at nowhere"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"release={artifact}", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_line_without_a_text_is_named(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = lines(tmp_path / "bank.jsonl", {"text": "fine"}, {"words": "not fine"})
    assert main([f"release={artifact}", f"bank={bank}", f"posts={bank}"]) == 2
    assert "bank.jsonl, line 2" in capsys.readouterr().err


def test_a_release_without_thresholds_says_so(tiny_workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = lines(tmp_path / "bank.jsonl", {"text": "fine"})
    assert main([f"release={tiny_workspace / 'releases' / 'tiny'}", f"bank={bank}", f"posts={bank}"]) == 2
    assert "too few to calibrate" in capsys.readouterr().err


def test_embeddings_are_those_of_the_model(classifier: Classifier) -> None:
    prints = Fingerprints(classifier, ["one text", "another one"])
    assert prints.embeddings.shape == (2, classifier.contract["embedding_dimension"])
    assert np.allclose(np.linalg.norm(prints.embeddings, axis=1), 1, atol=1e-5)
