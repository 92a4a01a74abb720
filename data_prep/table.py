"""The Example table: the contract between data preparation and every later stage."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
from datasets import Dataset, load_from_disk

from data_prep.command import UserError
from data_prep.files import read_json, sha256

SPLITS = ("train", "validation", "test")
HARD_NEGATIVES = {  # named allowed speech, and how people call it
    "NEWS": "news reports",
    "NEUTRAL": "neutral analysis",
    "CONDEMN": "condemnation",
    "COUNTER": "counter-speech",
    "QUOTE": "quoting to refute",
    "DISSENT": "protest and criticism of the state",
    "RIGHTS": "documentation of abuses",
    "GRIEF": "mourning",
    "SERVICE": "commemoration of soldiers",
    "RELIGION": "scripture and prayer",
    "HISTORY": "history",
    "SATIRE": "satire",
    "METAPHOR": "sport and games",
    "SELF_DEFENCE": "self-defence",
    "PEACE": "peace talks",
    "RECLAIM": "reclaimed labels",
}
ATTRIBUTES = pa.struct(
    [
        ("stance", pa.string()),
        ("voice", pa.string()),
        ("technique", pa.list_(pa.string())),
        ("code_switched", pa.bool_()),
        ("date", pa.date32()),  # when it was posted; null where unknown or unparsable
    ]
)


def example_schema(heads: Sequence[str]) -> pa.Schema:
    """The table's columns: one nullable int8 per head, where null means nobody judged this head."""
    return pa.schema(
        [
            ("id", pa.string()),  # content hash of source, language and text
            ("text", pa.string()),  # as received
            ("language", pa.string()),  # BCP-47
            ("script", pa.string()),  # ISO 15924
            *((head, pa.int8()) for head in heads),
            ("source", pa.string()),
            ("sense", pa.struct([(head, pa.string()) for head in heads])),
            ("family", pa.string()),  # never crosses a split
            ("split", pa.string()),
            ("hard_negative", pa.string()),
            ("attributes", ATTRIBUTES),
        ]
    )


def load_examples(folder: Path) -> Dataset:
    """Read a prepared mixture.

    Raises
    ------
    UserError
        If the folder holds no complete Example table, or other bytes than were published.
    """
    if not (folder / "manifest.json").is_file():
        raise UserError(
            f"{folder} holds no prepared data: run `python -m data_prep mixture={folder.name} data_root=<folder of the raw sets>`"
        )
    manifest = read_json(folder / "manifest.json")
    again = "prepare it again with `python -m data_prep`"
    try:
        changed = [name for name, digest in manifest["table_sha256"].items() if sha256(folder / "table" / name) != digest]
        if changed:
            raise UserError(f"{folder} is damaged ({changed[0]} is not what was published): {again}")
        table = cast(Dataset, load_from_disk(str(folder / "table")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} is damaged ({' '.join(str(error).split())}): {again}") from error
    expected = example_schema(manifest["heads"])
    if table.features.arrow_schema.names != expected.names or len(table) != manifest["rows"]:
        raise UserError(f"{folder} does not match its manifest: {again}")
    return table
