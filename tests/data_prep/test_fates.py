"""What becomes of each kind of row that real files hold: kept, a duplicate or rejected with its number, and the account balances."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, EngineSettings, MixtureSettings, ReaderSettings, ValueSettings
from data_prep.table import load_examples
from tests.conftest import HEADS, jsonl_source, prepare_rows

LONG = " ".join(f"word{index}" for index in range(200_000))  # over two million characters
CELLS = {  # the text's cell as it stands in the file -> the fate of its row
    b"The tea in Ruvel is good": "kept",
    b'"Rain fell, and then\nthe sun came out"': "kept",
    LONG.encode(): "kept",
    b"": "empty text",
    b'" \t "': "empty text",
    "\u200b\u200e".encode(): "text is empty after normalisation",
    b"Tea\0time": "NUL byte in the text",
    b"Caf\xe9 in Dalmire": "text is not valid in its file's encoding",
    b"The tea, in Ruvel": "5 fields where the header has 4",
    b"The tea  in Ruvel is good ": "duplicate",
    b"A second post with an id that was there": "kept",
}
DATES = ["2024-02-29", "29/02/24", ""]


def write(folder: Path, cells: Iterable[bytes], last_label: bytes = b"1") -> None:
    """The file begins with a byte order mark; ids repeat, and of three dates one is none and one is missing."""
    lines = [b",".join([b"p%d" % (number // 2), cell, b"1", DATES[number % 3].encode()]) for number, cell in enumerate(cells)]
    lines[-1] = lines[-1].replace(b",1,", b"," + last_label + b",")
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "posts.csv").write_bytes(b"\xef\xbb\xbf" + b"\n".join([b"id,text,label,when", *lines]) + b"\n")


def prepared(folder: Path, **changes: Any) -> Path:
    source = jsonl_source(
        files="posts.csv",
        reader=ReaderSettings(),
        family="id",
        split=ValueSettings(),
        language=ValueSettings(value="en"),
        labels={"propaganda": {"label": {"1": 1, "0": 0}}},
        attributes={"date": ValueSettings(column="when")},
        **changes,
    )
    mixture = MixtureSettings(name="mine", sources={"posts": source})
    return prepare(DataPrepSettings(mixture, HEADS, str(folder / "raw"), str(folder / "data"), EngineSettings(workers=1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared once, as two megabytes take seconds."""
    workspace = tmp_path_factory.mktemp("fates")
    write(workspace, CELLS)
    return prepared(workspace)


def test_every_row_has_its_fate(folder: Path) -> None:
    refused = [json.loads(line) for line in (folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    fates = {row["row"]: row["reason"] for row in refused}
    assert [fates.get(number, "kept") for number in range(1, len(CELLS) + 1)] == list(CELLS.values())
    account = read_json(folder / "manifest.json")["sources"]["posts"]
    assert {name: account[name] for name in ("rows_in", "kept", "duplicates", "leaking", "rejected")} == {
        "rows_in": 11, "kept": 4, "duplicates": 1, "leaking": 0, "rejected": 6,
    }  # fmt: skip
    assert {reason: count for reason, count in account["rejected_by_reason"].items() if count > 1} == {"empty text": 2}
    table = load_examples(folder).to_pandas().set_index("text")
    assert LONG in table.index
    assert "Rain fell, and then\nthe sun came out" in table.index


def test_repeated_ids_are_kept_as_one_family_under_ids_of_their_own(folder: Path) -> None:
    table = load_examples(folder).to_pandas()
    assert table["id"].is_unique
    first, second = table.iloc[0], table.iloc[1]  # both are p0 in the file
    assert first["id"] != second["id"]
    assert (first["family"], first["split"]) == (second["family"], second["split"])
    assert table["family"].nunique() == 3


def test_an_unparsable_date_is_counted_and_a_missing_one_is_not(folder: Path) -> None:
    dates = [row["date"] for row in load_examples(folder).to_pandas()["attributes"]]
    assert [str(date) for date in dates] == ["2024-02-29", "None", "None", "None"]
    # rows 2, 5, 8 and 11 have the date that is none; 2 and 11 become examples
    assert read_json(folder / "manifest.json")["sources"]["posts"]["unparsable_dates"] == 2
    assert "unparsable dates" in (folder / "datasheet.md").read_text(encoding="utf-8")


def test_an_unknown_label_stops_the_run_with_its_row(tmp_path: Path) -> None:
    write(tmp_path, [b"The tea in Ruvel is good", b"Rain fell"], last_label=b"perhaps")
    with pytest.raises(UserError, match=r"row 2: unknown value 'perhaps' in column label \(1 such rows\); name it in the map of"):
        prepared(tmp_path)
    assert not (tmp_path / "data" / "mine").exists()


def test_bytes_that_are_not_in_the_encoding_are_no_matter_of_the_text_alone(tmp_path: Path) -> None:
    write(tmp_path, [b"The tea in Ruvel is good", b"Rain fell"])
    path = tmp_path / "raw" / "posts.csv"
    path.write_bytes(path.read_bytes() + b"caf\xe9,The sun came out,1,\n")
    refused = [json.loads(line) for line in (prepared(tmp_path) / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["row"], row["reason"]) for row in refused] == [(3, "column id is not valid in its file's encoding")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"split": ValueSettings(column="part")}, "unknown split 'dev'"),
        ({"hard_negative": ValueSettings(column="part", map={"a": "NEWS", "dev": "NEWZ"})}, "unknown hard negative 'NEWZ'"),
        ({"language": ValueSettings(column="part", map={"a": "en"})}, "unknown value 'dev' in column part"),
        ({"language": ValueSettings(column="tongue")}, "unknown language 'English'"),
    ],
)
def test_values_that_nobody_knows_stop_the_run(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """Or official test rows would be lost without a word."""
    part = "test" if "split" in changes else "a"
    rows = [{"text": "The tea in Ruvel is good", "part": part, "tongue": "en"}, {"text": "Rain fell", "part": "dev", "tongue": "English"}]
    with pytest.raises(UserError, match=rf"source posts, row 2: {reason} \(1 such rows\); name it in the map of"):
        prepare_rows(tmp_path, [{"propaganda": 1, "lang": "en", **row} for row in rows], **changes)
