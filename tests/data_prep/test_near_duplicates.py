"""Small edits are found in every script, whatever is returned is really similar, and templates cost no quadratic time."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import near_duplicates
from data_prep.near_duplicates import jaccard, near_duplicate_pairs, recall_at, rows_per_band

POST = "thousands of people marched through the old town on friday and nobody was hurt"


def components(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `size` members, the smallest member of its group."""
    group = list(range(size))
    for i, j in pairs:
        old, new = max(group[i], group[j]), min(group[i], group[j])
        group = [new if name == old else name for name in group]
    return group


def groups(texts: Sequence[str], threshold: float = 0.8) -> set[frozenset[str]]:
    """The groups of distinct texts that belong together."""
    members: dict[int, set[str]] = {}
    for text, group in zip(texts, components(len(texts), near_duplicate_pairs(texts, threshold)), strict=True):
        members.setdefault(group, set()).add(text)
    return {frozenset(texts) for texts in members.values()}


def random_posts(generator: random.Random, count: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> list[str]:
    words = ["".join(generator.choices(alphabet, k=generator.randint(2, 9))) for _ in range(5_000)]
    return [" ".join(generator.choices(words, k=generator.randint(8, 20))) for _ in range(count)]


def edited(generator: random.Random, text: str) -> str:
    """A copy with one or two letters replaced, dropped or put in."""
    letters = list(text)
    for _ in range(generator.randint(1, 2)):
        place = generator.randrange(len(letters))
        letters[place] = generator.choice(("", "x", letters[place] + "x"))
    return "".join(letters)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abcdef", "abcdef", 1.0),
        ("abcdef", "abcdeg", 2 / 4),  # abcd bcde | cdef cdeg
        ("abcdefgh", "bcdefgh", 4 / 5),
        ("aaaa", "aaaaaaaa", 1.0),  # a set, so repetition does not count
        ("abcd", "efgh", 0.0),
        ("abc", "abc", 1.0),
        ("abc", "abcd", 0.0),  # the short text's only gram is abc
        ("", "", 1.0),
        ("سلامتی", "سلامت", 2 / 3),
        ("和平与正义", "和平与正", 1 / 2),
    ],
)
def test_jaccard_of_4_grams_by_hand(a: str, b: str, expected: float) -> None:
    assert jaccard(a, b) == jaccard(b, a) == pytest.approx(expected)


def test_the_threshold_is_inclusive() -> None:
    texts = ["abcdefgh", "bcdefgh"]  # 4 of 5 grams
    assert near_duplicate_pairs(texts, 0.8) == [(0, 1)]
    assert near_duplicate_pairs(texts, 0.81) == []


def test_a_small_edit_is_found_and_another_post_is_not() -> None:
    texts = ["nothing to see here, move along", POST, POST.replace("hurt", "harmed"), POST[:40], POST + "!!"]
    assert near_duplicate_pairs(texts) == [(1, 2), (1, 4)]


def test_no_text_one_text_and_empty_texts() -> None:
    assert near_duplicate_pairs([]) == []
    assert near_duplicate_pairs(["alone"]) == []
    assert near_duplicate_pairs(["", "a", "", "b"]) == [(0, 2)]


@pytest.mark.parametrize("texts", [["a", "b"], ["ab", "ab "], ["abc", "abcd"], ["ab", "ab\0\0"], ["abcd", "abcde"], ["سلا", "سلام"]])
def test_short_texts_are_the_same_or_different(texts: list[str]) -> None:
    assert near_duplicate_pairs(texts) == []
    assert near_duplicate_pairs(texts + texts) == [(0, 2), (1, 3)]


@pytest.mark.parametrize(
    "text",
    [
        "ہزاروں لوگ جمعہ کے دن پرانے شہر کی سڑکوں سے گزرے اور کسی کو کوئی نقصان نہیں پہنچا",
        "אלפי אנשים צעדו ביום שישי ברחובות העיר העתיקה ואיש לא נפגע",
        "शुक्रवार को हज़ारों लोग पुराने शहर की सड़कों से गुज़रे और किसी को चोट नहीं आई",
        "星期五有数千人走过旧城的街道没有人受伤大家都平安回家了然后一起吃了晚饭",
        "🕊️🇺🇦🕊️ 𝒑𝒆𝒂𝒄𝒆 𝒊𝒔 𝒑𝒐𝒔𝒔𝒊𝒃𝒍𝒆 🕊️🇺🇦🕊️ 𝒕𝒐𝒅𝒂𝒚",
    ],
)
def test_every_script_counts_in_characters(text: str) -> None:
    assert near_duplicate_pairs([text, POST, text + " !", text[::-1]]) == [(0, 2)]


def test_a_lone_surrogate_is_a_character_like_others() -> None:
    assert near_duplicate_pairs([POST, POST + "\ud83d", "\ud83d"]) == [(0, 1)]


def test_chains_are_one_group() -> None:
    texts = [POST[start : start + 60] for start in range(0, len(POST) - 60, 3)]
    assert jaccard(texts[0], texts[-1]) < 0.8 <= jaccard(texts[0], texts[1])
    assert components(len(texts), near_duplicate_pairs(texts)) == [0] * len(texts)


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01, float("nan")])
def test_a_threshold_that_means_no_near_duplicate_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        near_duplicate_pairs([POST], threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_bands_suit_every_threshold(threshold: float) -> None:
    rows = rows_per_band(threshold)
    assert 0.99 <= recall_at(threshold, rows) <= 1
    assert recall_at(0.2, rows) < 0.3  # texts with little in common are rarely compared


def test_signatures_agree_as_often_as_the_grams_do() -> None:
    generator = random.Random(1)
    texts = random_posts(generator, 400)
    copies = [text[: len(text) * 4 // 5] for text in texts]
    signatures = near_duplicates._signatures(texts + copies, seed=42)
    estimates = (signatures[:400] == signatures[400:]).mean(axis=1)
    exact = np.array([jaccard(text, copy) for text, copy in zip(texts, copies, strict=True)])
    assert abs((estimates - exact).mean()) < 0.01
    assert (estimates - exact).std() < 0.04  # sqrt(0.8 * 0.2 / 128) = 0.035


@given(st.lists(st.text("ab\u0627\u0628 ", max_size=12), max_size=40), st.sampled_from([0.5, 0.8, 1.0]))
def test_every_pair_is_ordered_and_as_similar_as_asked(texts: list[str], threshold: float) -> None:
    pairs = near_duplicate_pairs(texts, threshold)
    assert pairs == sorted(set(pairs))
    assert all(0 <= i < j < len(texts) and jaccard(texts[i], texts[j]) >= threshold for i, j in pairs)


@given(st.lists(st.text(max_size=6), max_size=20), st.randoms())
def test_identical_texts_are_always_found(texts: list[str], generator: random.Random) -> None:
    many = [*texts, *texts]
    generator.shuffle(many)
    group = components(len(many), near_duplicate_pairs(many))
    for text in texts:
        assert len({group[index] for index, other in enumerate(many) if other == text}) == 1


@given(st.lists(st.text("ab\u0627 ", max_size=15), max_size=40), st.randoms())
def test_the_order_of_the_texts_does_not_matter(texts: list[str], generator: random.Random) -> None:
    shuffled = texts.copy()
    generator.shuffle(shuffled)
    assert groups(shuffled) == groups(texts)


@given(st.lists(st.text("ab", max_size=9), max_size=25, unique=True))
def test_a_few_short_texts_are_grouped_as_by_comparing_all(texts: list[str]) -> None:
    # Without a huge bucket only the sketch can miss a pair; two texts of the same grams it cannot.
    same = [(i, j) for j in range(len(texts)) for i in range(j) if jaccard(texts[i], texts[j]) == 1]
    assert components(len(texts), near_duplicate_pairs(texts, 1.0)) == components(len(texts), same)


@pytest.mark.parametrize("alphabet", ["abcdefghijklmnopqrstuvwxyz", "ابپتجچخدذرزسشصضطعغفقکگلمنوہی"])
def test_planted_near_duplicates_are_found(alphabet: str) -> None:
    generator = random.Random(2)
    originals = random_posts(generator, 1_000, alphabet)
    texts = originals + [edited(generator, text) for text in originals]
    planted = [index for index in range(1_000) if jaccard(texts[index], texts[index + 1_000]) >= 0.8]
    group = components(len(texts), near_duplicate_pairs(texts))
    assert len(planted) > 700
    assert np.mean([group[index] == group[index + 1_000] for index in planted]) >= 0.99
    assert len(set(group)) == 2_000 - sum(group[index] == group[index + 1_000] for index in range(1_000))  # and nothing else


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the exact comparisons, by the first text."""
    counts: Counter[str] = Counter()

    def counted(a: str, b: str) -> float:
        counts[a] += 1
        return jaccard(a, b)

    monkeypatch.setattr(near_duplicates, "jaccard", counted)
    return counts


def test_one_template_filled_many_times_is_one_group_at_a_linear_cost(comparisons: Counter[str]) -> None:
    texts = [f"{POST}, says report number {number:05}" for number in range(5_000)]
    pairs = near_duplicate_pairs(texts)
    assert len(pairs) == len(texts) - 1  # a spanning tree
    assert len({index for pair in pairs for index in pair}) == len(texts)
    assert comparisons.total() < 2 * len(texts)


def test_a_template_whose_fillings_differ_costs_linear_time_and_hides_no_near_duplicate(comparisons: Counter[str]) -> None:
    generator = random.Random(3)
    texts = [f"{POST} {filling[:30]}" for filling in random_posts(generator, 2_000)]
    texts += [text + "." for text in texts[:200]]
    group = components(len(texts), near_duplicate_pairs(texts))
    assert np.mean([group[index] == group[2_000 + index] for index in range(200)]) >= 0.99
    assert len(set(group)) > 1_900
    assert comparisons.total() < 200 * len(texts)
