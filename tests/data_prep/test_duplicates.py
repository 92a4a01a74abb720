"""One row per text, families that hold together, and contradictions that nobody learns from."""

from typing import Any

import numpy as np
import pandas as pd

from data_prep.duplicates import assign_families, drop_copies, mask_contradictions, near_copies
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.splits import UNASSIGNED
from data_prep.table import SPLITS

HEADS = ["propaganda"]


def row(
    text: str, *, split: str | None = None, label: int | None = 0, family: str | None = None, source: str = "s", language: str = "en"
) -> dict[str, Any]:
    """A line of the frame that decisions about rows are made with."""
    return {
        "id": f"{source}-{language}-{text}-{split}", "normalised": text.lower(), "source": source, "language": language,
        "official": SPLITS[::-1].index(split) if split else UNASSIGNED, "propaganda": np.nan if label is None else label,
        "declared_family": family, "conflicts": 0,
    }  # fmt: skip


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"propaganda": "float32", "official": "int8", "declared_family": object})


def with_families(rows: pd.DataFrame) -> pd.DataFrame:
    return assign_families(rows, near_duplicate_pairs(rows["normalised"].tolist()))


def test_the_official_test_copy_is_the_one_kept() -> None:
    kept, dropped = drop_copies(frame(row("A", split="train"), row("a", split="test"), row("b")), HEADS, {})
    assert kept["id"].tolist() == ["s-en-a-test", "s-en-b-None"]
    assert dropped["duplicate_of"].tolist() == ["s-en-a-test"]
    assert kept["conflicts"].sum() == 0


def test_copies_that_disagree_are_masked() -> None:
    kept, _ = drop_copies(frame(row("a", label=1), row("A", label=0), row("a!", label=None)), HEADS, {})
    assert kept["propaganda"].isna().all()
    assert kept["conflicts"].tolist() == [1, 0]


def test_a_training_copy_has_no_say_about_an_official_test_row() -> None:
    kept, _ = drop_copies(frame(row("a", label=1, split="test"), row("A", label=0, split="train")), HEADS, {})
    assert kept["propaganda"].tolist() == [1]


def test_a_label_fills_no_gap_by_itself() -> None:
    kept, _ = drop_copies(frame(row("a", label=1), row("A", label=None)), HEADS, {})
    assert (kept["propaganda"].tolist(), kept["conflicts"].sum()) == ([1], 0)


def test_languages_and_sources_have_their_own_copies() -> None:
    kept, dropped = drop_copies(frame(row("a"), row("a", language="ur"), row("a", source="t")), HEADS, {})
    assert (len(kept), len(dropped)) == (3, 0)


def test_near_duplicates_are_one_family() -> None:
    original = "the market in ruvel opened again after the rain and everybody came to buy apples"
    families = with_families(frame(row(original), row(original + "!"), row("the museum of dalmire shows old maps this week")))["family"]
    assert families[0] == families[1] != families[2]


def test_families_join_over_shared_text_and_declared_keys() -> None:
    rows = frame(row("a", family="f1"), row("b", family="f1"), row("b", source="t"), row("c", source="t"))
    names = with_families(rows)["family"].tolist()
    assert names[0] == names[1] == names[2] != names[3]


def test_a_salt_changes_every_family_and_who_shares_one_not_at_all() -> None:
    rows = frame(row("a", family="f1"), row("b", family="f1"), row("c"))
    plain, salted = (assign_families(rows, [], salt)["family"].tolist() for salt in (None, "pepper"))
    assert salted[0] == salted[1] != salted[2]
    assert not set(plain) & set(salted)


def test_near_duplicates_with_opposite_labels_are_masked_and_counted() -> None:
    post = "the market in ruvel opened again after the rain and everybody came to buy apples"
    rows = with_families(frame(row(post, label=1), row(post + "!", label=0), row(post + "?", label=None), row("something else", label=1)))
    rows["split"] = "train"
    masked = mask_contradictions(rows, HEADS, near_copies(rows))
    assert masked["propaganda"].isna().tolist() == [True, True, True, False]
    assert masked["conflicts"].tolist() == [1, 1, 0, 0]
    counted = mask_contradictions(rows, HEADS, near_copies(rows), mask=False)
    assert counted["propaganda"].isna().sum() == 1
    assert counted["conflicts"].sum() == 2


def test_rows_that_a_source_pairs_on_purpose_keep_their_labels() -> None:
    post = "the market in ruvel opened again after the rain and everybody came to buy apples"
    rows = with_families(frame(row(post, label=1, family="pair"), row(post + " not", label=0, family="pair")))
    rows["split"] = "train"
    assert near_copies(rows).tolist() == [-1, -1]


def test_near_duplicates_in_another_split_do_not_contradict() -> None:
    post = "the market in ruvel opened again after the rain and everybody came to buy apples"
    rows = with_families(frame(row(post, label=1), row(post + "!", label=0)))
    rows["split"] = ["train", "test"]
    assert near_copies(rows).tolist() == [-1, -1]


def test_a_judged_copy_is_the_one_kept() -> None:
    kept, dropped = drop_copies(frame(row("A", label=None), row("a", label=1), row("a", label=1, split=None)), HEADS, {})
    assert kept.index.tolist() == [1]
    assert kept["propaganda"].tolist() == [1]
    assert dropped.index.tolist() == [0, 2]


def test_but_not_before_a_copy_in_a_higher_split() -> None:
    kept, _ = drop_copies(frame(row("a", label=1, split="train"), row("A", label=None, split="test")), HEADS, {})
    assert kept["official"].tolist() == [0]
    assert kept["propaganda"].isna().all(), "and a training copy does not judge it"


def test_copies_judge_the_heads_together() -> None:
    rows = frame(row("a", label=None), row("A", label=1), row("a", label=None), row("b", label=1)).assign(
        violence=[np.nan, np.nan, 0, np.nan]
    )
    kept, _ = drop_copies(rows.astype({"violence": "float32"}), ["propaganda", "violence"], {})
    assert kept[["propaganda", "violence"]].fillna(-1).to_numpy().tolist() == [[1, 0], [1, -1]]
    assert kept["conflicts"].tolist() == [0, 0]


def test_a_copy_published_as_a_test_row_stands_before_an_official_training_row() -> None:
    rows = frame(row("a", split="train"), row("A"))
    assert drop_copies(rows, HEADS, {"s-en-A-None": "test"})[0]["id"].tolist() == ["s-en-A-None"]
    assert drop_copies(rows, HEADS, {"s-en-A-None": "train"})[0]["id"].tolist() == ["s-en-a-train"]
