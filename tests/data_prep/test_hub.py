"""A data set in the hub's layout is streamed. `datasets` reads a folder here as it reads a repository there."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.command import UserError
from data_prep.readers import matching_files, read_rows
from data_prep.settings import ReaderSettings
from tests.conftest import ROOT

ROWS = [{"text": f"Tea in Ruvel {index}", "label": index % 2} for index in range(5)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`owner/name` as its repository lies on the hub: two subsets, one of them with two splits."""
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    subsets = {"posts": {"train": "posts-train.parquet", "test": "posts-test.parquet"}, "comments": {"train": "comments.parquet"}}
    front_matter = "configs:\n" + "".join(
        f"- config_name: {subset}\n  data_files:\n" + "".join(f"  - split: {split}\n    path: {path}\n" for split, path in files.items())
        for subset, files in subsets.items()
    )
    (folder / "README.md").write_text(f"---\n{front_matter}---\nPosts from Ruvel.\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS[:3]), folder / "posts-train.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[3:]), folder / "posts-test.parquet")
    comments = [{"text": "Rain in Dalmire", "split": "its own"}, {"text": "Sun", "split": None}]
    pq.write_table(pa.Table.from_pylist(comments), folder / "comments.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def test_all_splits_are_read_and_told_apart(repository: Path) -> None:
    rows = list(read_rows(repository, "hf://owner/name", ReaderSettings(subset="posts")))
    assert rows == [{**row, "split": "train"} for row in ROWS[:3]] + [{**row, "split": "test"} for row in ROWS[3:]]
    assert not list((repository / "cache").rglob("*.arrow")), "nothing was copied first"


def test_one_split(repository: Path) -> None:
    rows = list(read_rows(repository, "hf://owner/name@main", ReaderSettings(subset="posts", split="test")))
    assert rows == [{**row, "split": "test"} for row in ROWS[3:]]


def test_a_column_split_of_its_own_is_kept(repository: Path) -> None:
    rows = list(read_rows(repository, "hf://owner/name", ReaderSettings(subset="comments")))
    assert rows == [{"text": "Rain in Dalmire", "split": "its own"}, {"text": "Sun", "split": None}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Config name is missing"),
        ({"subset": "replies"}, "'replies' not found. Available: .*posts"),
        ({"subset": "posts", "split": "dev"}, "Bad split: dev. Available splits: .*train"),
    ],
)
def test_what_the_set_does_not_have_is_named(repository: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=f"^hf://owner/name cannot be read from the Hugging Face hub: .*{message}"):
        list(read_rows(repository, "hf://owner/name", ReaderSettings(**settings)))


def test_a_file_that_is_broken_in_the_middle_of_the_stream(repository: Path) -> None:
    (repository / "owner" / "lines").mkdir()
    (repository / "owner" / "lines" / "train.jsonl").write_text('{"text": "Rain"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"^hf://owner/lines cannot be read"):
        list(read_rows(repository, "hf://owner/lines", ReaderSettings()))


def test_no_file_below_the_data_root_belongs_to_it(tmp_path: Path) -> None:
    assert matching_files(tmp_path, "hf://owner/name") == {}


def test_without_the_hub_one_sentence_says_so(tmp_path: Path) -> None:
    """In a process of its own, because `datasets` asks for the switch once, when it is imported."""
    program = (
        "from pathlib import Path\n"
        "from data_prep.command import user_errors\n"
        "from data_prep.readers import read_rows\n"
        "from data_prep.settings import ReaderSettings\n"
        "with user_errors():\n"
        "    list(read_rows(Path('.'), 'hf://nobody/nothing@main', ReaderSettings()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: hf://nobody/nothing@main cannot be read from the Hugging Face hub: Couldn't reach"
    )
    assert "that this machine reaches the hub" in done.stderr
    assert "Traceback" not in done.stderr
