"""Every format becomes the same rows, and a row its format does not allow is counted, not lost."""

import json
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.command import UserError
from data_prep.readers import Malformed, read_rows
from data_prep.settings import ReaderSettings

ROWS = [{"text": 'سلام؛ "دنیا"\nline two', "label": "1"}, {"text": "plain", "label": "0"}]


def write(path: Path, format_: str) -> None:
    match format_:
        case "csv":
            lines = ["text,label"] + [f'"{row["text"].replace(chr(34), chr(34) * 2)}",{row["label"]}' for row in ROWS]
            path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
        case "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
        case "json":
            path.write_text(json.dumps(ROWS), encoding="utf-8")
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
        case "xlsx":
            workbook = openpyxl.Workbook()
            for row in (("text", "label"), *(tuple(row.values()) for row in ROWS)):
                workbook.active.append(row)
            workbook.save(path)


@pytest.mark.parametrize("format_", ["csv", "jsonl", "json", "parquet", "xlsx"])
def test_formats_agree(tmp_path: Path, format_: str) -> None:
    write(tmp_path / f"posts.{format_}", format_)
    assert list(read_rows(tmp_path, f"posts.{format_}", ReaderSettings(format=format_))) == ROWS


def test_names_in_braces_become_columns(tmp_path: Path) -> None:
    for folder, part in (("urd", "train"), ("urd", "test"), ("pbt", "train")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{part}_set.tsv").write_text(f"text\na {part}\n", encoding="utf-8")
    (tmp_path / "urd" / "notes.tsv").write_text("text\nnot wanted\n", encoding="utf-8")
    rows = list(read_rows(tmp_path, "{folder}/{part}_set.tsv", ReaderSettings(format="tsv")))
    assert rows == [
        {"text": "a train", "folder": "pbt", "part": "train"},
        {"text": "a test", "folder": "urd", "part": "test"},
        {"text": "a train", "folder": "urd", "part": "train"},
    ]


def test_delimiter_and_encoding_are_configurable(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('text;label\n"grün; rot";1\n'.encode("latin-1"))
    rows = list(read_rows(tmp_path, "a.csv", ReaderSettings(format="csv", delimiter=";", encoding="latin-1")))
    assert rows == [{"text": "grün; rot", "label": "1"}]


@pytest.mark.parametrize(
    ("format_", "content"), [("csv", "a,b\n1\n2,3\n"), ("tsv", "a\tb\n1\n2\t3\n"), ("jsonl", '{"a":\n{"a": 1, "b": 2}\n')]
)
def test_a_broken_row_is_one_malformed_row(tmp_path: Path, format_: str, content: str) -> None:
    (tmp_path / "a").write_text(content, encoding="utf-8")
    broken, whole = read_rows(tmp_path, "a", ReaderSettings(format=format_))
    assert isinstance(broken, Malformed)
    assert isinstance(whole, dict)


def test_json_object_of_objects_keeps_its_keys(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x1": {"text": "a"}, "x2": {"text": "b"}}', encoding="utf-8")
    assert list(read_rows(tmp_path, "a.json", ReaderSettings(format="json"))) == [{"key": "x1", "text": "a"}, {"key": "x2", "text": "b"}]


@pytest.mark.parametrize(
    ("pattern", "format_", "message"),
    [
        ("none.csv", "csv", "no file matches"),
        ("a.bin", "docx", "reader.format=docx is unknown"),
        ("a.bin", "parquet", "cannot be read as parquet"),
        ("a.bin", "json", "is not JSON"),
        ("a.bin", "xlsx", "cannot be read as xlsx"),
    ],
)
def test_unreadable_files_are_told_in_one_sentence(tmp_path: Path, pattern: str, format_: str, message: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"PK not really")
    with pytest.raises(UserError, match=message):
        list(read_rows(tmp_path, pattern, ReaderSettings(format=format_)))
