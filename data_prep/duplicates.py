"""Exact duplicates (after normalisation) are dropped; families are rows that must share one split."""

from collections import defaultdict
from collections.abc import Sequence

from data_prep.mapping import Example, content_hash
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.table import SPLITS


def _official_rank(example: Example) -> int:
    """Test before validation before train before unassigned: the copy an official split needs most is kept."""
    return SPLITS[::-1].index(example["split"]) if example["split"] else len(SPLITS)


def drop_duplicates(examples: Sequence[Example], heads: Sequence[str]) -> tuple[list[Example], list[Example], int]:
    """Keep one row per source, language and normalised text.

    Where copies disagree about a head, that head is masked in the row kept: nobody can learn, or be
    measured, from a text that its own source labels both ways.

    Returns
    -------
    The rows kept in their original order, the copies dropped (each with `duplicate_of`), and the
    number of head labels masked because of a conflict.
    """
    copies: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        copies[example["source"], example["language"], example["normalised"]].append(index)
    kept: dict[int, Example] = {}
    dropped: list[Example] = []
    conflicts = 0
    for indices in copies.values():
        best = min(indices, key=lambda index: (_official_rank(examples[index]), index))
        example = dict(examples[best])
        for head in heads:
            labels = {examples[index][head] for index in indices} - {None}
            if len(labels) > 1:
                example[head] = None
                conflicts += 1
        kept[best] = example
        dropped += [{**examples[index], "duplicate_of": example["id"]} for index in indices if index != best]
    return [kept[index] for index in sorted(kept)], dropped, conflicts


def assign_families(examples: Sequence[Example]) -> None:
    """Give every row its `family`: rows joined by a declared family or by being near duplicates of each other.

    Union-find; a family's name is the content hash of its smallest member, so it does not depend on
    the order of rows. A new row that joins two families into one can give them a new name.
    """
    parent = list(range(len(examples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, example in enumerate(examples):
        if example["declared_family"]:
            parent[root(index)] = root(first.setdefault(example["declared_family"], index))
    for left, right in near_duplicate_pairs([example["normalised"] for example in examples]):
        parent[root(right)] = root(left)
    smallest: dict[int, str] = {}
    for index, example in enumerate(examples):
        key = example["declared_family"] or example["id"]
        group = root(index)
        smallest[group] = min(smallest.get(group, key), key)
    for index, example in enumerate(examples):
        example["family"] = content_hash("family", smallest[root(index)])
