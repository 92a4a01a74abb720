"""Every format becomes the same rows, and a row or file its format does not allow has a defined fate."""

import csv
import gzip
import json
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from data_prep.command import UserError
from data_prep.readers import Malformed, Row, matching_files, read_rows
from data_prep.settings import ReaderSettings

ROWS = [{"text": 'سلام؛ "دنیا"\nline two', "label": "1"}, {"text": "plain", "label": "0"}]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def read(path: Path, **settings: Any) -> list[Row | Malformed]:
    return list(read_rows(path.parent, path.name, ReaderSettings(**settings)))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the format that the extension says."""
    match path.suffix:
        case ".csv" | ".tsv":
            with path.open("w", encoding="utf-8-sig", newline="") as file:
                writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
                writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
        case ".jsonl" | ".ndjson":
            path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".feather":
            pyarrow.feather.write_feather(pa.Table.from_pylist(rows), path)
        case ".arrow":
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        case ".xlsx":
            workbook = openpyxl.Workbook()
            for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
                workbook.active.append(cells)
            workbook.save(path)
    return path


EXTENSIONS = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "feather", "arrow", "xlsx"]


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("packed", PACKERS)
def test_formats_agree(tmp_path: Path, extension: str, packed: str) -> None:
    path = write(tmp_path / f"posts.{extension}", ROWS)
    packed_path = tmp_path / f"packed.{extension}{packed}"
    packed_path.write_bytes(PACKERS[packed](path.read_bytes()))
    assert read(packed_path) == ROWS


@pytest.mark.parametrize("format_", ["csv", "jsonl", "json", "parquet", "xlsx"])
def test_a_format_that_is_set_needs_no_extension(tmp_path: Path, format_: str) -> None:
    path = write(tmp_path / f"posts.{format_}", ROWS).rename(tmp_path / "posts.txt")
    assert read(path, format=format_) == ROWS
    with pytest.raises(UserError, match=r"has none of the extensions \.csv.*reader\.format"):
        read(path)


@given(st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"))] * 2), min_size=1), st.sampled_from(",;\t|"))
def test_what_a_csv_writer_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *cells])
    assert read(path, encoding="utf-8", delimiter=delimiter, quoting="double") == [
        dict(zip(("text", "label"), row, strict=True)) for row in cells
    ]


def test_delimiter_and_encoding_are_configurable(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('text;label\n"grün; rot, blau",1\n'.encode("cp1251", "replace"))
    (tmp_path / "b.csv").write_bytes('text;label\n"grün; rot";1\n'.encode("latin-1"))
    assert read(tmp_path / "b.csv", delimiter=";", encoding="latin-1") == [{"text": "grün; rot", "label": "1"}]
    assert read(tmp_path / "b.csv", delimiter=";", encoding="cp1251") == [{"text": "grьn; rot", "label": "1"}], "set, so not detected"
    assert read(tmp_path / "b.csv", delimiter=",", quoting="none", encoding="latin-1") == [{"text;label": '"grün; rot";1'}]


# How files below the data root are named


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several formats in folders, and what else lies about in such folders; each row says its file."""
    for name in ("a/one.csv", "a/two.jsonl", "a/b/three.tsv.gz", "a/b/[4].json", ".git/five.csv", "a/__MACOSX/._one.csv", "a/~$six.xlsx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": path.name, "label": "1"}]
        if path.suffix == ".gz":
            write(path.with_suffix(""), rows)
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
            path.with_suffix("").unlink()
        else:
            write(path, rows)
    (tmp_path / "a" / "README.md").write_text("no data", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "format_", "files"),
    [
        ("a", None, ["[4].json", "three.tsv.gz", "one.csv", "two.jsonl"]),
        ("a/", "csv", ["one.csv"]),
        (".", None, ["[4].json", "three.tsv.gz", "one.csv", "two.jsonl"]),
        ("**", None, ["[4].json", "three.tsv.gz", "one.csv", "two.jsonl"]),
        ("./a/one.csv", None, ["one.csv"]),
        ("a/*.[cj]s*", None, ["one.csv", "two.jsonl"]),
        ("a/[!t]*.csv", None, ["one.csv"]),
        ("**/t*", None, ["three.tsv.gz", "two.jsonl"]),
        ("a/???.csv", None, ["one.csv"]),
    ],
)
def test_folders_and_wildcards(tree: Path, pattern: str, format_: str | None, files: list[str]) -> None:
    rows = list(read_rows(tree, pattern, ReaderSettings(format=format_)))
    assert [row["text"].removesuffix(".gz") for row in rows if isinstance(row, dict)] == [name.removesuffix(".gz") for name in files]
    assert all(set(row) == {"text", "label"} for row in rows if isinstance(row, dict))


def test_wildcards_and_names_in_braces_go_together(tree: Path) -> None:
    assert matching_files(tree, "**/{stem}.{kind}l") == {tree / "a" / "two.jsonl": {"stem": "two", "kind": "json"}}
    assert matching_files(tree, "{top}/*/{stem}.tsv*") == {tree / "a" / "b" / "three.tsv.gz": {"top": "a", "stem": "three"}}
    assert matching_files(tree, "{top}/{middle}") == {
        tree / "a" / name: {"top": "a", "middle": name} for name in ("one.csv", "two.jsonl")
    }, "files go before folders, and the README is passed over"
    assert list(matching_files(tree, ".git/*.csv")) == [tree / ".git" / "five.csv"], "hidden, but named"
    assert list(matching_files(tree, "a/*.md")) == [tree / "a" / "README.md"], "which is an error unless reader.format says what it is"


def test_a_folder_that_a_name_matches_gives_its_files_that_column(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
        write(tmp_path / "set" / split / "part-0.parquet", [{"text": split}])
    rows = list(read_rows(tmp_path, "set/{split}", ReaderSettings()))
    assert rows == [{"text": "test", "split": "test"}, {"text": "train", "split": "train"}]


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    table = [{"text": f"Tea in Ruvel {index}", "labels": ["Slogans"] * (index % 2)} for index in range(7)]
    shuffled = Dataset.from_list(table).shuffle(seed=1)
    DatasetDict(train=shuffled, test=Dataset.from_list(table[:2])).save_to_disk(tmp_path / "saved", num_shards={"train": 3, "test": 1})
    rows = list(read_rows(tmp_path, "saved/{split}", ReaderSettings()))
    assert rows == [{**row, "split": "test"} for row in table[:2]] + [{**row, "split": "train"} for row in shuffled]


@pytest.mark.parametrize(
    ("pattern", "settings", "message"),
    [
        ("none.csv", {"format": "csv"}, "no file matches"),
        ("empty", {}, "holds no file with one of the extensions .csv"),
        ("/a.bin", {}, "is an absolute path"),
        ("{x}/{x}.csv", {}, "files={x}/{x}.csv is not a path pattern: redefinition of group name 'x'"),
        ("a**/b.csv", {}, "files=a**/b.csv is not a path pattern"),
        ("a.bin", {"format": "docx"}, "reader.format=docx is unknown"),
        ("a.bin", {"format": "parquet"}, "cannot be read as parquet"),
        ("a.bin", {"format": "arrow"}, "cannot be read as arrow"),
        ("a.bin", {"format": "json"}, "is not JSON"),
        ("a.bin", {"format": "xlsx"}, "cannot be read as xlsx"),
        ("a.bin", {"format": "csv", "encoding": "cp12567"}, "cannot be read as csv: unknown encoding: cp12567"),
        ("a.bin", {"format": "csv", "encoding": "utf-16"}, "cannot be read as csv: UTF-16 stream does not start with BOM"),
        ("a.bin", {"format": "csv", "delimiter": "||"}, "reader.delimiter='||' is not one character"),
        ("a.bin", {"format": "csv", "quoting": "single"}, "reader.quoting=single is unknown: use one of double, backslash, none"),
        ("number.json", {}, "holds a single value"),
        ("deep.json", {}, "is not JSON"),
    ],
)
def test_unreadable_files_are_told_in_one_sentence(tmp_path: Path, pattern: str, settings: dict[str, str], message: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"PK not really\n")
    (tmp_path / "number.json").write_text("5", encoding="utf-8")
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=re.escape(message)):
        list(read_rows(tmp_path, pattern, ReaderSettings(**settings)))


# What becomes of rows that are not as they should be


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "a,b\n1\n2,3\n", "1 fields where the header has 2"),
        ("a.csv", "a,b\n1,2,3\n2,3\n", "3 fields where the header has 2"),
        ("a.tsv", "a\tb\n1\n2\t3\n", "1 fields where the header has 2"),
        ("a.jsonl", '{"a":\n{"a": 1, "b": 2}\n', "not JSON: Expecting value"),
        ("a.jsonl", '[1, 2]\n{"a": 1, "b": 2}\n', "a JSON value that is not an object"),
        ("a.jsonl", "[" * 100_000 + '\n{"a": 1, "b": 2}\n', "not JSON: maximum recursion depth"),
        ("a.json", '["x", {"a": 1, "b": 2}]', "a JSON value that is not an object"),
    ],
)
def test_a_broken_row_is_one_malformed_row(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    broken, whole = read(tmp_path / name)
    assert isinstance(broken, Malformed)
    assert broken.reason.startswith(reason)
    assert isinstance(whole, dict)
    assert list(whole) == ["a", "b"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.jsonl.zst", "header.csv", "header.tsv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    content = b"text,label\n" if name.startswith("header") else b""
    (tmp_path / name).write_bytes(PACKERS[Path(name).suffix](content) if Path(name).suffix in PACKERS else content)
    assert read(tmp_path / name) == []


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        (tmp_path / name).write_text(f"\ntext{delimiter}label\n\nTea{delimiter}1\n\n\n", encoding="utf-8")
        assert read(tmp_path / name) == [{"text": "Tea", "label": "1"}]


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, extension: str, encoding: str | None) -> None:
    path = write(tmp_path / f"a.{extension}", [{"text": "Rain", "label": "1"}, {"text": "Tea", "label": "0"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    assert read(path, encoding=encoding) == [{"text": "Rain", "label": "1"}, {"text": "Tea", "label": "0"}]


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "json"])
def test_bad_utf_8_stays_in_its_cell(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"a.{extension}", [{"text": "Rain ?", "label": "1"}, *({"text": "چائے", "label": "0"} for _ in range(2))])
    path.write_bytes(path.read_bytes().replace(b"?", b"\xff"))
    bad, *good = read(path)
    assert bad == {"text": "Rain \udcff", "label": "1"}, "which the mapping rejects"
    assert good == [{"text": "چائے", "label": "0"}] * 2


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_columnar_files_with_bytes_for_text(tmp_path: Path, extension: str) -> None:
    """Arrow neither checks that a string is UTF-8 nor that a writer has said it is one."""
    offsets, data = (
        pa.py_buffer((0).to_bytes(4, "little") + (4).to_bytes(4, "little") + (7).to_bytes(4, "little")),
        pa.py_buffer(b"RainT\xffa"),
    )
    broken = pa.StringArray.from_buffers(2, offsets, data)
    table = pa.table({"text": broken, "other": pa.array([None, "چائے".encode()], pa.binary()), "label": [1, 0]})
    path = tmp_path / f"a.{extension}"
    if extension == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    assert read(path) == [{"text": "Rain", "other": None, "label": 1}, {"text": "T\udcffa", "other": "چائے", "label": 0}]


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "parquet", "arrow"])
def test_nul_bytes_and_two_megabytes_of_text_come_through(tmp_path: Path, extension: str) -> None:
    rows = [{"text": "Rain\0 in Ruvel", "label": "1"}, {"text": "چائے، " * 400_000, "label": "0"}]
    assert len(rows[1]["text"].encode()) > 2_000_000
    assert read(write(tmp_path / f"a.{extension}", rows)) == rows


def test_line_breaks_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\r\n"one\r\ntwo\n\nthree",1\r\nfour,0')
    assert read(tmp_path / "a.csv") == [{"text": "one\r\ntwo\n\nthree", "label": "1"}, {"text": "four", "label": "0"}]


def test_without_quoting_a_carriage_return_belongs_to_its_cell(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'text\tlabel\r\n"one\rtwo\t1\r\n')
    assert read(tmp_path / "a.tsv", format="tsv") == [{"text": '"one\rtwo', "label": "1"}]


def test_tsv_is_without_quoting_when_set_and_detected_by_extension(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"She said ""tea"""\t1\n', encoding="utf-8")
    assert read(tmp_path / "a.tsv", format="tsv") == [{"text": '"She said ""tea"""', "label": "1"}]
    assert (
        read(tmp_path / "a.tsv") == read(tmp_path / "a.tsv", format="tsv", quoting="double") == [{"text": 'She said "tea"', "label": "1"}]
    )


@pytest.mark.parametrize("tail", ['"Tea in Ruvel,1\n', 'Tea in Ruvel,"1\n'])
def test_a_quotation_mark_that_is_not_closed_is_told(tmp_path: Path, tail: str) -> None:
    """Even where the row that swallowed the rest has as many cells as the header."""
    (tmp_path / "a.csv").write_text("text,label\nRain,0\n" + tail + "Sun,0\nSnow,1\n", encoding="utf-8")
    first, last = read(tmp_path / "a.csv", quoting="double")
    assert first == {"text": "Rain", "label": "0"}
    assert last == Malformed("a quotation mark in the row of line 3 is not closed and takes in the rest of the file")


def test_a_cell_beyond_reason_ends_the_reading_before_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert csv.field_size_limit() == 2**26
    (tmp_path / "a.csv").write_text('text,label\nRain,0\n"Tea,1\n' + "Sun,0\n" * 500, encoding="utf-8")
    try:
        csv.field_size_limit(1000)
        with pytest.raises(UserError, match=r"from line 3 on \(field larger than field limit \(1000\)\).*reader\.quoting=none"):
            read(tmp_path / "a.csv", quoting="double")
    finally:
        csv.field_size_limit(2**26)


def test_repeated_column_names_are_numbered(tmp_path: Path) -> None:
    expected = [{"text": "Rain", "label": "1", "label.1": "0"}]
    (tmp_path / "a.csv").write_text("text,label,label\nRain,1,0\n", encoding="utf-8")
    workbook = openpyxl.Workbook()
    for cells in (("text", "label", "label"), ("Rain", "1", "0")):
        workbook.active.append(cells)
    workbook.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.csv") == read(tmp_path / "a.xlsx") == expected


def test_spreadsheet_rows_may_end_early_but_not_late(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    for cells in (("text", "label", "note"), ("Rain", 1), (), (None, None, "alone"), ("Tea", 0, None, None, "beyond")):
        workbook.active.append(cells)
    workbook.save(tmp_path / "a.xlsx")
    expected = [
        {"text": "Rain", "label": 1, "note": None},
        {"text": None, "label": None, "note": "alone"},
        Malformed("5 fields where the header has 3"),
    ]
    assert read(tmp_path / "a.xlsx") == expected
    # some programs write a sheet's dimensions wrongly, and openpyxl would believe them
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', old.read(name)))
    assert read(tmp_path / "b.xlsx") == expected


def test_json_object_of_objects_keeps_its_keys(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x1": {"text": "a"}, "x2": {"text": "b"}}', encoding="utf-8")
    assert read(tmp_path / "a.json") == [{"key": "x1", "text": "a"}, {"key": "x2", "text": "b"}]


def test_json_lines_in_a_file_called_json(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS).rename(tmp_path / "a.json")
    assert read(tmp_path / "a.json") == ROWS
    with pytest.raises(UserError, match="is not JSON"):
        read(tmp_path / "a.json", format="json")


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("extension", ["csv", "jsonl", "json", "parquet"])
def test_a_packed_file_that_breaks_off_is_an_error(tmp_path: Path, extension: str, packed: str) -> None:
    """However late it breaks off: half a file must not pass for a whole one."""
    content = write(
        tmp_path / f"a.{extension}", [{"text": f"Rain {index * 7919 % 1000}", "label": "1"} for index in range(3000)]
    ).read_bytes()
    whole = PACKERS[packed](content)
    for name, data in (("cut", whole[:-9]), ("half", whole[: len(whole) // 2]), ("other", b"text,label\nRain,1\n")):
        path = tmp_path / f"{name}.{extension}{packed}"
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}.{extension}{packed} cannot be read as {extension}|{name}.* is not JSON"):
            read(path)


def test_files_are_streamed(tmp_path: Path) -> None:
    """Reading 20 MB keeps little of them in memory, packed or not."""
    rows = [{"text": f"{index} " + "Rain in Ruvel. " * 7_000, "label": "1"} for index in range(200)]
    for extension, packed in (("csv", ""), ("csv", ".gz"), ("jsonl", ".zst")):
        content = write(tmp_path / f"a.{extension}", rows).read_bytes()
        assert len(content) > 20_000_000
        (tmp_path / f"b.{extension}{packed}").write_bytes(PACKERS[packed](content))
        del content
        stream = read_rows(tmp_path, f"b.{extension}{packed}", ReaderSettings())
        tracemalloc.start()
        count = sum(isinstance(row, dict) for row in stream)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 200
        assert peak < 6_000_000
