"""Which split a row belongs to: official splits are kept, the rest is decided by a hash of the family."""

import hashlib
from collections.abc import Sequence

from data_prep.mapping import Example
from data_prep.settings import MixtureSettings
from data_prep.table import SPLITS


def assign_splits(examples: Sequence[Example], mixture: MixtureSettings) -> tuple[list[Example], list[Example]]:
    """Give every row a split, families whole.

    A family with an official test row is a test family, else one with an official validation row is a
    validation family, and so on. Rows of it that officially belong elsewhere would leak and are taken
    out; an official test row never is. A family without any official row goes where the hash of its
    name falls, so adding rows moves nobody.

    Returns
    -------
    The rows that keep a place, and the rows taken out because their family is in a higher split.
    """
    official: dict[str, str] = {}
    for split in SPLITS:  # later ones win: test over validation over train
        official.update({example["family"]: split for example in examples if example["split"] == split})
    kept, leaking = [], []
    for example in examples:
        split = official.get(example["family"]) or split_by_hash(
            example["family"], mixture.validation_fraction, mixture.test_fraction, mixture.split_seed
        )
        if example["split"] not in (None, split):
            leaking.append(example)
        else:
            example["split"] = split
            kept.append(example)
    return kept, leaking


def split_by_hash(family: str, validation_fraction: float, test_fraction: float, seed: int) -> str:
    """The split a family falls into: uniform over families, the same on every machine and in every run."""
    digest = hashlib.sha256(f"{seed}/{family}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
