"""One row per text, families that hold together, splits that never move and never leak."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from data_prep.duplicates import assign_families, drop_duplicates
from data_prep.settings import MixtureSettings
from data_prep.splits import assign_splits, split_by_hash

HEADS = ["propaganda"]


def row(
    text: str, *, split: str | None = None, label: int | None = 0, family: str | None = None, source: str = "s", language: str = "en"
) -> dict[str, Any]:
    return {
        "id": f"{source}-{language}-{text}-{split}", "normalised": text.lower(), "text": text, "source": source, "language": language,
        "split": split, "propaganda": label, "declared_family": family,
    }  # fmt: skip


def test_the_official_test_copy_is_the_one_kept() -> None:
    kept, dropped, conflicts = drop_duplicates([row("A", split="train"), row("a", split="test"), row("b")], HEADS)
    assert [example["id"] for example in kept] == ["s-en-a-test", "s-en-b-None"]
    assert [example["duplicate_of"] for example in dropped] == ["s-en-a-test"]
    assert conflicts == 0


def test_copies_that_disagree_are_masked() -> None:
    kept, _, conflicts = drop_duplicates([row("a", label=1), row("A", label=0), row("a!", label=None)], HEADS)
    assert [example["propaganda"] for example in kept] == [None, None]
    assert conflicts == 1


def test_a_label_fills_no_gap_by_itself() -> None:
    kept, _, conflicts = drop_duplicates([row("a", label=1), row("A", label=None)], HEADS)
    assert (kept[0]["propaganda"], conflicts) == (1, 0)


def test_languages_and_sources_have_their_own_copies() -> None:
    kept, dropped, _ = drop_duplicates([row("a"), row("a", language="ur"), row("a", source="t")], HEADS)
    assert (len(kept), len(dropped)) == (3, 0)


def test_near_duplicates_are_one_family() -> None:
    original = "the market in ruvel opened again after the rain and everybody came to buy apples"
    rows = [row(original), row(original + "!"), row("the museum of dalmire shows old maps this week")]
    assign_families(rows)
    assert rows[0]["family"] == rows[1]["family"] != rows[2]["family"]


def test_families_join_over_shared_text_and_declared_keys() -> None:
    rows = [row("a", family="f1"), row("b", family="f1"), row("b", source="t"), row("c", source="t")]
    assign_families(rows)
    names = [example["family"] for example in rows]
    assert names[0] == names[1] == names[2] != names[3]


def test_an_official_test_row_stays_and_its_train_relative_leaves() -> None:
    rows = [row("a", split="train", family="f"), row("b", split="test", family="f"), row("c", family="f")]
    assign_families(rows)
    kept, leaking = assign_splits(rows, MixtureSettings(name="m"))
    assert [(example["text"], example["split"]) for example in kept] == [("b", "test"), ("c", "test")]
    assert [example["text"] for example in leaking] == ["a"]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=30), st.randoms())
def test_adding_rows_or_shuffling_moves_nobody(texts: list[str], random: Any) -> None:
    mixture = MixtureSettings(name="m")

    def split_of(texts: list[str]) -> dict[str, str]:
        rows = [row(text) for text in dict.fromkeys(texts)]
        assign_families(rows)
        return {example["text"]: example["split"] for example in assign_splits(rows, mixture)[0]}

    before = split_of(texts)
    more = [*texts, "zz", "zzz"]
    random.shuffle(more)
    after = split_of(more)
    assert {text: after[text] for text in before} == before


def test_fractions_are_met() -> None:
    splits = [split_by_hash(str(index), 0.1, 0.2, 0) for index in range(20_000)]
    assert abs(splits.count("test") / 20_000 - 0.2) < 0.01
    assert abs(splits.count("validation") / 20_000 - 0.1) < 0.01
