"""Bad input of data preparation: configurations, files and folders."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from data_prep.table import load_examples
from tests.conftest import HEADS
from tests.reliability.harness import (
    Case,
    check,
    check_sentence,
    own_mixture,
    parametrised,
    read_only,
    run_here,
    small_disk,
    snapshot,
    without_root,
)

ROW = {"text": "a market in Dalmire", "propaganda": "1", "violence_glorification": "0"}
ROWS = "".join(json.dumps({**ROW, "text": f"{ROW['text']} {word}"}) + "\n" for word in ("sun", "rain", "tea", "milk")).encode()
CSV = b"text,propaganda,violence_glorification\na market in Dalmire,1,0\nrain in Ruvel,0,0\n"
GZIP = gzip.compress(ROWS * 500)


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    rows = [{**ROW, "text": "".join(random.Random(row).choices("abdeiklmnorstuv ", k=60))} for row in range(2000)]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink, compression="snappy")
    return bytes(sink.getvalue().to_pybytes())


def arrow() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([ROW] * 2000)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def flipped(content: bytes, place: float) -> bytes:
    """The content with 64 bytes turned over."""
    start = int(len(content) * place)
    return content[:start] + bytes(byte ^ 0xFF for byte in content[start : start + 64]) + content[start + 64 :]


def file_case(name: str, what: str, says: str, files: dict[str, bytes], /, **source: object) -> Case:
    source.setdefault("files", next(iter(files)))
    return Case(name, what, "data_prep", says, lambda folder: own_mixture(folder, files, "", **source))


def config_case(name: str, what: str, says: str, mixture: str = "", /, *overrides: str, **source: object) -> Case:
    return Case(name, what, "data_prep", says, lambda folder: [*own_mixture(folder, {"posts.jsonl": ROWS}, mixture, **source), *overrides])


def symlink_loop(folder: Path) -> list[str]:
    command = own_mixture(folder, {"other.txt": b""})
    (folder / "raw" / "posts.jsonl").symlink_to("posts.jsonl")
    return command


def head_named_text(folder: Path) -> list[str]:
    command = own_mixture(folder, {"posts.jsonl": ROWS})
    (folder / "own" / "head").mkdir()
    (folder / "own" / "head" / "mine.yaml").write_text("text: {description: x}\n", encoding="utf-8")
    return [*command, "head@heads=mine"]


def config_not_yaml(folder: Path) -> list[str]:
    command = own_mixture(folder, {"posts.jsonl": ROWS})
    (folder / "own" / "mixture" / "mine.yaml").write_text("name: {mine\nsources: ]", encoding="utf-8")
    return command


def data_dir_is_file(folder: Path) -> list[str]:
    command = own_mixture(folder, {"posts.jsonl": ROWS})
    (folder / "data").write_text("mine", encoding="utf-8")
    return command


def data_dir_locked(folder: Path) -> list[str]:
    command = own_mixture(folder, {"posts.jsonl": ROWS})
    (folder / "data").mkdir(mode=0o555)
    return command


def file_locked(folder: Path) -> list[str]:
    command = own_mixture(folder, {"posts.jsonl": ROWS})
    (folder / "raw" / "posts.jsonl").chmod(0)
    return command


SETTINGS_AND_FILES = [
    Case("data-mixture-unknown", "a mixture that no config names", "data_prep", "Could not find 'mixture/smaple'", ["mixture=smaple"]),
    Case("data-key-mistyped", "a setting that does not exist", "data_prep", "mixture.near_dupliacte", ["mixture.near_dupliacte=0.5"]),
    Case("data-type-wrong", "a word where a number belongs", "data_prep", "max_leaking", ["mixture.max_leaking=much"]),
    Case("data-override-syntax", "an override that is no `key=value`", "data_prep", "no viable alternative at input", ["mixture=[sample"]),
    Case("data-config-not-yaml", "a config file that is no YAML", "data_prep", "is not YAML", config_not_yaml),
    Case(
        "data-environment-missing",
        "a secret read from a variable that is not set",
        "data_prep",
        "DALMIRE_SALT",
        ["salt=${oc.env:DALMIRE_SALT}"],
    ),
    config_case("data-mixture-name-climbs", "`mixture.name=../elsewhere`", "is not a usable name", "", "mixture.name=../elsewhere"),
    config_case("data-source-name-climbs", "a source named `../../posts`", "is not a usable name", "", name="../../posts"),
    Case(
        "data-head-name-taken", "a head named like a column of the table", "data_prep", "heads.text is not a usable name", head_named_text
    ),
    config_case("data-files-absolute", "`files: /etc/*.conf`", "is an absolute path", files="/etc/*.conf"),
    config_case("data-files-climb", "`files: ../own/*`", "leaves data_root", files="../own/source/*.yaml"),
    config_case(
        "data-join-climbs",
        "a join's `files: ../../posts`",
        "leaves data_root",
        join=[{"files": "../own/source/posts.yaml", "by": "id", "add": ["x"]}],
    ),
    config_case("data-pattern-broken", "`files: posts[z-a].csv`", "is not a path pattern", files="posts[z-a].csv"),
    config_case("data-format-unknown", "`reader.format: docx`", "reader.format=docx is unknown", reader={"format": "docx"}),
    config_case("data-encoding-unknown", "`reader.encoding: utf-9`", "utf-9", reader={"encoding": "utf-9"}),
    config_case("data-delimiter-long", "`reader.delimiter: ;;`", "reader.delimiter", reader={"format": "csv", "delimiter": ";;"}),
    config_case("data-quoting-unknown", "`reader.quoting: single`", "reader.quoting", reader={"format": "csv", "quoting": "single"}),
    config_case("data-column-missing", "a text column that the file lacks", "has no column 'body'", text="body"),
    config_case(
        "data-label-out-of-range",
        "a label map that says 2",
        "must be 1, 0 or null",
        labels={"propaganda": {"propaganda": {"1": 2, "0": 0}}},
    ),
    config_case(
        "data-label-head-unknown",
        "labels for a head that is not configured",
        "names the head praise",
        labels={"praise": {"propaganda": {"1": 1, "0": 0}}},
    ),
    config_case(
        "data-label-value-unknown",
        "a cell that the label map does not name",
        "unknown value '1'",
        labels={"propaganda": {"propaganda": {"0": 0}}},
    ),
    config_case("data-split-unknown", "a split other than train, validation and test", "unknown split 'dev'", split={"value": "dev"}),
    config_case(
        "data-hard-negative-unknown",
        "a kind of allowed speech that the taxonomy lacks",
        "unknown hard negative",
        hard_negative={"value": "JOKE"},
    ),
    config_case(
        "data-fractions-too-large",
        "validation and test fractions above 1 together",
        "validation_fraction",
        "",
        "mixture.validation_fraction=0.6",
        "mixture.test_fraction=0.6",
    ),
    config_case("data-fraction-negative", "`mixture.test_fraction=-0.1`", "test_fraction", "", "mixture.test_fraction=-0.1"),
    config_case("data-similarity-out-of-range", "`mixture.near_duplicate=0`", "near_duplicate", "", "mixture.near_duplicate=0"),
    config_case("data-workers-none", "`engine.workers=0`", "engine.workers", "", "engine.workers=0"),
    config_case("data-engine-unknown", "`engine.name=spark`", "engine.name=spark is unknown", "", "engine.name=spark"),
    config_case("data-no-source", "a mixture without a source", "has no source", "", "~mixture.sources.posts"),
    config_case("data-root-missing", "a data_root that is not there", "no file matches", "", "data_root=/nowhere"),
    Case("data-dir-is-a-file", "a file has the place of data_dir", "data_prep", "cannot write to", data_dir_is_file),
    file_case("file-empty", "a file of no bytes", "is empty", {"posts.jsonl": b""}),
    file_case(
        "file-header-only", "a CSV file with a header and no row", "is empty", {"posts.csv": b"text,propaganda,violence_glorification\n"}
    ),
    file_case("file-gzip-broken-off", "a .gz file that breaks off", "cannot be read as jsonl", {"posts.jsonl.gz": GZIP[: len(GZIP) // 2]}),
    file_case("file-gzip-flipped", "a .gz file with turned bits", "cannot be read as jsonl", {"posts.jsonl.gz": flipped(GZIP, 0.4)}),
    file_case("file-not-gzip", "a .gz file that is none", "cannot be read as jsonl", {"posts.jsonl.gz": ROWS}),
    file_case(
        "file-zstd-broken-off",
        "a .zst file that breaks off",
        "cannot be read as jsonl",
        {"posts.jsonl.zst": pa.compress(ROWS * 50, "zstd", asbytes=True)[:60]},
    ),
    file_case(
        "file-parquet-broken-off", "a Parquet file that breaks off", "cannot be read as parquet", {"posts.parquet": parquet()[:-100]}
    ),
    file_case(
        "file-parquet-flipped", "a Parquet file with turned bits", "cannot be read as parquet", {"posts.parquet": flipped(parquet(), 0.3)}
    ),
    file_case("file-arrow-broken-off", "an Arrow file that breaks off", "cannot be read as arrow", {"posts.arrow": arrow()[:-200]}),
    file_case("file-not-a-spreadsheet", "an .xlsx file that is none", "cannot be read as xlsx", {"posts.xlsx": CSV}),
    file_case("file-json-broken-off", "a JSON file that breaks off", "is not JSON", {"posts.json": b'[{"text": "a"}, {"te'}),
    file_case("file-json-single-value", "a JSON file of one number", "holds a single value", {"posts.json": b"3"}),
    file_case("file-json-nested", "JSON nested 100,000 deep", "is not JSON", {"posts.json": b"[" * 100_000}),
    file_case("file-no-objects", "JSON lines that are all arrays", "all 2 rows were rejected", {"posts.jsonl": b"[1]\n[2]\n"}),
    file_case(
        "file-wrong-encoding",
        "text that is not in the configured encoding",
        "text is not valid in its file's encoding",
        {"posts.csv": "text,propaganda,violence_glorification\nмир,1,0\n".encode("cp1251")},
        reader={"encoding": "utf-8"},
    ),
    file_case("file-binary", "random bytes named .csv", "rows were rejected", {"posts.csv": random.Random(0).randbytes(5000)}),
    file_case(
        "file-none-known",
        "a folder with no file of a known format",
        "holds no file with one of the extensions",
        {"set/readme.txt": b"x"},
        files="set",
    ),
    Case("file-symlink-loop", "a link to itself", "data_prep", "no file matches", symlink_loop),
]


LOCKED = [
    Case("data-dir-not-writable", "no permission to write to data_dir", "data_prep", "Permission denied", data_dir_locked),
    Case("data-file-not-readable", "no permission to read a file", "data_prep", "Permission denied", file_locked),
]
READ_ONLY = Case("data-dir-read-only", "data_dir on a disk that can only be read", "data_prep", "give a", ["data_dir={folder}/data"])
FULL = Case("data-disk-full", "a disk that fills up while the table is written", "data_prep", "make room there", [])

CASES = [*SETTINGS_AND_FILES, *LOCKED, READ_ONLY, FULL]

# a row's fate: the table holds the others, `rejected.jsonl` this one with the reason
BAD_ROWS = [
    ("row-text-empty", "a text of white space", {"text": " \u00a0\n"}, "empty text"),
    ("row-text-missing", "a row without its text", {"propaganda": "1"}, "empty text"),
    ("row-text-vanishes", "a text of zero-width characters", {"text": "\u200b\u200e\u2060"}, "text is empty after normalisation"),
    ("row-nul", "a NUL character", {"text": "a\0b"}, "NUL byte in the text"),
    ("row-surrogate", "half of a surrogate pair", {"text": "a\ud800b"}, "text is not valid in its file's encoding"),
    ("row-not-json", "a line that is no JSON", "{'text': 1}", "not JSON"),
    ("row-broken-off", "a line that breaks off", '{"text": "a', "not JSON"),
    ("row-array", "a line that is an array", "[1, 2]", "a JSON value that is not an object"),
    ("row-nested", "JSON nested 100,000 deep", '{"a":' * 100_000, "not JSON"),
]


@parametrised(SETTINGS_AND_FILES)
def test_bad_input_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_heads_are_those_of_the_cases() -> None:
    assert set(HEADS) == ROW.keys() - {"text"}


@parametrised(LOCKED)
def test_missing_permissions_are_one_sentence(case: Case, tmp_path: Path) -> None:
    with without_root():
        check(case, tmp_path)


def test_a_read_only_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with read_only(tmp_path / "data"):
        check(READ_ONLY, tmp_path)


def test_a_full_disk_leaves_what_was_published(tmp_path: Path) -> None:
    """Room for one table and not for another beside it: the old one stays, and with more room the new one takes its place."""
    command = own_mixture(tmp_path, {"posts.jsonl": many_rows(400)})
    with small_disk(tmp_path, 1000) as disk:
        assert run_here("data_prep", *command, f"data_dir={disk}", cwd=tmp_path).code == 0
        before = snapshot(disk)
        (tmp_path / "raw" / "posts.jsonl").write_bytes(many_rows(6000))
        check_sentence(run_here("data_prep", *command, f"data_dir={disk}", cwd=tmp_path), FULL.says)
        assert snapshot(disk) == before
        assert len(load_examples(disk / "mine")) == 400
    assert run_here("data_prep", *command, cwd=tmp_path).code == 0
    assert len(load_examples(tmp_path / "data" / "mine")) == 6000


def test_a_bad_row_is_kept_aside_with_its_reason(tmp_path: Path) -> None:
    lines = [row if isinstance(row, str) else json.dumps({**ROW, "text": None, **row}) for _, _, row, _ in BAD_ROWS]
    command = own_mixture(tmp_path, {"posts.jsonl": ROWS + "\n".join(lines).encode()})
    assert run_here("data_prep", *command, cwd=tmp_path).code == 0
    rejected = [json.loads(line) for line in (tmp_path / "data" / "mine" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rejected) == len(BAD_ROWS)
    for (name, _, _, reason), row in zip(BAD_ROWS, sorted(rejected, key=lambda row: row["row"]), strict=True):
        assert reason in row["reason"], name
    assert len(load_examples(tmp_path / "data" / "mine")) == 4


def many_rows(count: int) -> bytes:
    """So many different posts."""
    generator = random.Random(1)
    texts = ["".join(generator.choices("abdeiklmnorstuv ", k=50)) for _ in range(count)]
    return "".join(json.dumps({**ROW, "text": text}) + "\n" for text in texts).encode()
