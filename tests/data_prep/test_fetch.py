"""`python -m data_prep.fetch` against a real server: what it asks for, what it keeps, what it refuses and what it says."""

import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from data_prep.command import UserError
from data_prep.fetch import RemoteFile, describe, download, download_all, missing_files, read_checksums, remote_files, upstream_path
from data_prep.settings import DataPrepSettings, DownloadSettings, SourceSettings, to_settings
from tests.conftest import ROOT, jsonl_source, run_stage_process

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RANDOM = random.Random(0)
# made-up words, so that no two posts are near duplicates
WORDS = ["".join(RANDOM.choices("abdeiklmnorstuv", k=6)) for _ in range(40 * 8)]
POSTS = "".join(json.dumps({"text": " ".join(WORDS[8 * n : 8 * n + 8]), "label": n % 2}) + "\n" for n in range(40)).encode()


class Origin(ThreadingHTTPServer):
    """A server of `files` that keeps the requests and, for each path in `faults`, goes wrong as told before it goes right.

    A fault is a status, or "cut": half of what was asked for and then the end of the connection.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.encodings: set[str] = set()
        self.on_request: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        origin, path, asked = self.server, unquote(self.path), self.headers.get("Range")
        origin.on_request()
        origin.requests.append((path, asked))
        origin.encodings.add(self.headers["Accept-Encoding"])
        fault = origin.faults[path].pop(0) if origin.faults.get(path) else None
        content = origin.files.get(path)
        if isinstance(fault, int) or content is None:
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and origin.ranges else 0
        if start >= len(content) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : (start + len(content)) // 2 if fault == "cut" else None])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("data_prep.fetch.WAITS_S", (0, 0, 0))
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def posts(origin: Origin, tmp_path: Path) -> RemoteFile:
    """A file that the origin has, to be downloaded to a folder that does not exist yet."""
    origin.files["/posts.jsonl"] = POSTS
    return RemoteFile(f"{origin.url}/posts.jsonl", tmp_path / "raw" / "a" / "posts.jsonl", hashlib.sha256(POSTS).hexdigest())


def partial_of(file: RemoteFile, content: bytes) -> Path:
    file.path.parent.mkdir(parents=True)
    path = file.path.with_name("posts.jsonl.partial")
    path.write_bytes(content)
    return path


def folder_of(file: RemoteFile) -> list[str]:
    return sorted(path.name for path in file.path.parent.iterdir())


def test_a_partial_file_is_continued(origin: Origin, posts: RemoteFile) -> None:
    partial_of(posts, POSTS[:100])
    download_all([posts])
    assert origin.requests == [("/posts.jsonl", "bytes=100-")]
    assert posts.path.read_bytes() == POSTS
    assert folder_of(posts) == ["posts.jsonl"]


def test_a_server_that_ignores_ranges_begins_again(origin: Origin, posts: RemoteFile) -> None:
    origin.ranges = False
    partial_of(posts, b"?" * 100)
    download_all([posts])
    assert origin.requests == [("/posts.jsonl", "bytes=100-")]
    assert posts.path.read_bytes() == POSTS


def test_a_partial_file_that_is_whole_needs_only_its_name(origin: Origin, posts: RemoteFile) -> None:
    partial_of(posts, POSTS)
    download_all([posts])
    assert posts.path.read_bytes() == POSTS
    assert folder_of(posts) == ["posts.jsonl"]


def test_a_cut_connection_is_resumed_where_it_broke(origin: Origin, tmp_path: Path) -> None:
    content = POSTS * 200
    origin.files["/posts.jsonl"] = content
    origin.faults["/posts.jsonl"] = ["cut"]
    file = RemoteFile(f"{origin.url}/posts.jsonl", tmp_path / "posts.jsonl", hashlib.sha256(content).hexdigest())
    download_all([file])
    (_, first), (_, second) = origin.requests
    assert first is None
    assert second is not None
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    assert len(content) // 4 < start <= len(content) // 2, "what arrived before the cut, but for the last piece, is kept"
    assert file.path.read_bytes() == content
    assert origin.encodings == {"identity"}, "ranges of a compressed answer are not ranges of the file"


def test_a_server_error_is_tried_again(origin: Origin, posts: RemoteFile) -> None:
    origin.faults["/posts.jsonl"] = [503, 429]
    download_all([posts])
    assert len(origin.requests) == 3
    assert posts.path.read_bytes() == POSTS


@pytest.mark.parametrize(("faults", "requests_made"), [([503] * 9, 3), ([404] * 9, 1)])
def test_a_lasting_error_names_the_url_and_the_cure(faults: list[int | str], requests_made: int, origin: Origin, posts: RemoteFile) -> None:
    origin.faults["/posts.jsonl"] = faults
    with pytest.raises(UserError, match=f"{re.escape(posts.url)} \\({faults[0]} .*download it elsewhere to {re.escape(str(posts.path))}"):
        download_all([posts])
    assert len(origin.requests) == requests_made
    assert folder_of(posts) == []


@pytest.mark.parametrize("begun", [b"", b"?" * 100, b"?" * 2 * len(POSTS)], ids=["fresh", "resumed", "too long"])
def test_other_bytes_are_removed_and_told(begun: bytes, origin: Origin, posts: RemoteFile) -> None:
    partial_of(posts, begun)
    origin.files["/posts.jsonl"] = POSTS if begun else POSTS.upper()
    with pytest.raises(UserError, match=f"instead of {posts.sha256} and is not kept"):
        download_all([posts])
    assert folder_of(posts) == []
    origin.files["/posts.jsonl"] = POSTS
    download_all([posts])
    assert posts.path.read_bytes() == POSTS


@pytest.mark.parametrize("mirror", ["mirror.example.org", "file:///sets", "http://"])
def test_an_unusable_mirror_is_one_sentence(mirror: str, tmp_path: Path) -> None:
    with requests.Session() as session, pytest.raises(UserError, match="give mirror="):
        download(session, RemoteFile(f"{mirror}/a", tmp_path / "a", "0" * 64))


def test_a_folder_that_cannot_be_written(posts: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file", encoding="utf-8")
    with pytest.raises(UserError, match="give a data_root that is writable"):
        download_all([posts])


def test_what_is_there_is_skipped_and_foreign_files_are_left_alone(posts: RemoteFile, tmp_path: Path) -> None:
    assert missing_files([posts]) == [posts]
    posts.path.parent.mkdir(parents=True)
    posts.path.write_bytes(POSTS)
    assert missing_files([posts]) == []
    posts.path.write_bytes(b"corrected by hand")
    with pytest.raises(UserError, match=f"{re.escape(str(posts.path))}; move them away"):
        missing_files([posts])
    assert posts.path.read_bytes() == b"corrected by hand"


def downloadable(checksums: Path, content: str, **changes: Any) -> SourceSettings:
    """A source whose checksum file has the content, and of which everything below `posts/` lies upstream below `data/`."""
    checksums.write_text(content, encoding="utf-8")
    settings = {"repository": "dalmire/posts", "commit": COMMIT, "checksums": str(checksums), "paths": {"posts/{name}": "data/{name}"}}
    return jsonl_source(download=DownloadSettings(**(settings | changes)))


def test_the_url_is_of_the_commit_and_quoted(tmp_path: Path) -> None:
    source = downloadable(tmp_path / "sums", f"{'a' * 64}  posts/50% übrig #1.csv\n")
    assert remote_files(source, Path("raw"), "https://mirror.example.org/") == [
        RemoteFile(
            f"https://mirror.example.org/dalmire/posts/{COMMIT}/data/50%25%20%C3%BCbrig%20%231.csv",
            Path("raw/posts/50% übrig #1.csv"),
            "a" * 64,
        )
    ]


@pytest.mark.parametrize(
    ("path", "changes", "says"),
    [
        ("posts/a.csv", {"paths": {"posts/{name}": "../../other/{name}"}}, "leaves its folder"),
        ("posts/../../a.csv", {"paths": {"posts/../../{name}": "{name}"}}, "leaves its folder"),
        ("/etc/a.csv", {"paths": {"/etc/{name}": "{name}"}}, "leaves its folder"),
        ("..", {"paths": {"{name}": "a"}}, "leaves its folder"),
        ("C:a.csv", {"paths": {"{name}": "a"}}, "leaves its folder"),
        ("posts\\..\\..\\a.csv", {"paths": {"{name}": "a"}}, "leaves its folder"),
        ("posts/a.csv", {"repository": "../posts"}, "leaves its folder"),
        ("posts/a.csv", {"repository": "dalmire/posts/main"}, "is not owner/name"),
        ("posts/a.csv", {"commit": "main"}, "40 digits of a commit"),
        ("posts/sub/a.csv", {}, "no pattern of download.paths matches posts/sub/a.csv"),
        ("posts/a.csv", {"paths": {"posts/{name}": "{part}/{name}"}}, "that posts/{name} lacks"),
    ],
)
def test_what_a_download_may_not_say(path: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        remote_files(downloadable(tmp_path / "sums", f"{'a' * 64}  {path}\n", **changes), tmp_path, "http://mirror.example.org")


@given(st.from_regex(r"[^/{}\n]+", fullmatch=True), st.from_regex(r"[^/{}\n]+", fullmatch=True))
def test_names_in_braces_are_carried_over(folder: str, part: str) -> None:
    paths = {"a/{folder}/{part}.tsv": "{part}/of/{folder}", "a/LICENSE": "LICENSE"}
    assert upstream_path(f"a/{folder}/{part}.tsv", DownloadSettings(paths=paths)) == f"{part}/of/{folder}"
    assert upstream_path("a/LICENSE", DownloadSettings(paths=paths)) == "LICENSE"


def test_checksums_are_what_sha256sum_writes(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(POSTS)
    sums = tmp_path / "sums"
    sums.write_text(f"{hashlib.sha256(POSTS).hexdigest()}  a b.csv\n", encoding="utf-8")
    assert read_checksums(sums) == {"a b.csv": hashlib.sha256(POSTS).hexdigest()}
    for content, line in (("", 1), (f"{'a' * 64}  a\n{'a' * 63}  b\n", 2), (f"{'a' * 64}\n", 1)):
        sums.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=f"line {line} "):
            read_checksums(sums)
    with pytest.raises(UserError, match="nowhere cannot be read"):
        read_checksums(tmp_path / "nowhere")


def test_a_source_without_a_download_says_where_its_files_go() -> None:
    source = jsonl_source(files="posts/{part}.jsonl", licence="none stated", non_commercial=True)
    assert remote_files(source, Path("raw"), "http://mirror.example.org") == []
    described = describe(source, [], [], Path("raw"))
    assert "place posts/{part}.jsonl below raw by hand" in described
    assert "none stated (NON-COMMERCIAL use only)" in described
    assert "read from the hub" in describe(jsonl_source(files="hf://dalmire/posts"), [], [], Path("raw"))


SOURCES = sorted(path.stem for path in (ROOT / "configs" / "source").glob("*.yaml"))


@pytest.mark.parametrize("name", SOURCES)
def test_every_public_source_lists_the_files_that_it_reads(name: str, tmp_path: Path, compose_stage: Callable[..., Any]) -> None:
    settings: DataPrepSettings = to_settings(compose_stage("data_prep", f"+source@mixture.sources.tried={name}"), DataPrepSettings)
    source = settings.mixture.sources["tried"]
    files = remote_files(source, tmp_path, "https://mirror.example.org")
    assert bool(files) != source.embedded
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.touch()
    found = Counter(
        path
        for pattern in ([] if source.embedded else [source.files, *(join.files for join in source.join)])
        for path in tmp_path.glob(re.sub(r"{\w+}", "*", pattern))
    )
    assert found == Counter(file.path for file in files if file.path.name != "LICENSE"), "each file is read, by one pattern"
    if source.download is not None:
        assert source.origin == f"github.com/{source.download.repository} at {source.download.commit}"
        assert source.download.checksums == f"data_prep/checksums/{name}.sha256"
        assert len({file.url for file in files}) == len(files)


def test_every_public_source_has_its_checksum_file_and_every_checksum_file_its_source() -> None:
    checksums = {path.stem for path in (ROOT / "data_prep" / "checksums").iterdir()}
    assert checksums == {name for name in SOURCES if name not in ("sample", "functional_suite")}


def test_download_then_prepare_as_the_last_line_says(origin: Origin, tmp_path: Path) -> None:
    origin.files[f"/dalmire/posts/{COMMIT}/data/a.jsonl"] = POSTS
    for group in ("source", "mixture"):
        (tmp_path / "mine" / group).mkdir(parents=True)
    (tmp_path / "sums").write_text(f"{hashlib.sha256(POSTS).hexdigest()}  posts/a.jsonl\n", encoding="utf-8")
    (tmp_path / "mine" / "source" / "posts.yaml").write_text(
        "name: posts\ntitle: Posts of Dalmire\norigin: github.com/${.download.repository}\nlicence: CC-BY-NC-4.0\nnon_commercial: true\n"
        f"download:\n  repository: dalmire/posts\n  commit: '{COMMIT}'\n  checksums: {tmp_path / 'sums'}\n"
        "  paths: {'posts/{part}.jsonl': 'data/{part}.jsonl'}\n"
        "files: posts/{part}.jsonl\nreader: {format: jsonl}\ntext: text\nlanguage: {value: en}\n"
        'labels: {propaganda: {label: {"1": 1, "0": 0}}}\n',
        encoding="utf-8",
    )
    (tmp_path / "mine" / "mixture" / "mine.yaml").write_text("defaults:\n  - /source@sources.posts: posts\nname: mine\n", encoding="utf-8")
    arguments = ["mixture=mine", f"hydra.searchpath=[file://{tmp_path}/mine]", "data_root=raw folder"]
    fetch = [sys.executable, "-m", "data_prep.fetch", *arguments, f"mirror={origin.url}"]
    shown_before: list[str] = []
    origin.on_request = lambda: shown_before.append((tmp_path / "output").read_text(encoding="utf-8"))
    with (tmp_path / "output").open("w", encoding="utf-8") as output:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(fetch, cwd=tmp_path, env=env, stdout=output, check=True, timeout=280)
    assert origin.requests == [(f"/dalmire/posts/{COMMIT}/data/a.jsonl", None)]
    assert (tmp_path / "raw folder" / "posts" / "a.jsonl").read_bytes() == POSTS
    for term in (
        "Posts of Dalmire",
        "CC-BY-NC-4.0 (NON-COMMERCIAL use only)",
        "github.com/dalmire/posts",
        "1 to download of 1",
        origin.url,
    ):
        assert term in shown_before[0], "the terms are shown before the first request"

    again = run_stage_process(*fetch[2:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(origin.requests) == 1, "nothing is asked for twice"
    assert "files: 1 with the SHA-256 listed, 0 of them new" in again.stdout
    following = again.stdout.splitlines()[-1].removeprefix("next: python")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    prepared = subprocess.run(
        f"'{sys.executable}' {following}", shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=280
    )
    assert prepared.returncode == 0, prepared.stderr
    assert "40 rows -> data/mine" in prepared.stdout


def test_no_network_is_one_sentence_and_exit_code_2(tmp_path: Path, compose_stage: Callable[..., Any]) -> None:
    research = compose_stage("data_prep", "mixture=research").mixture
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mirror = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = run_stage_process("data_prep.fetch", f"mirror={mirror}", cwd=tmp_path, NO_PROXY="127.0.0.1")
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith(f"error: cannot download {mirror}/MaazAmjad/Threatening_Dataset/")
    assert "(Connection refused): run this again on a network that reaches it" in errors[0]
    assert errors[0].endswith("download it elsewhere to data/raw/urdu_threatening_tweets/dataset.xlsx")
    assert done.stdout.count("\n  licence  ") == len(research.sources) + len(research.held_out) > 10, "the terms of every set"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_sample_needs_no_download(tmp_path: Path) -> None:
    done = run_stage_process("data_prep.fetch", "mixture=sample", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "part of this repository" in done.stdout
    assert done.stdout.endswith("next: python -m data_prep mixture=sample\n")
    assert not list(tmp_path.iterdir())


def test_help_shows_examples(tmp_path: Path) -> None:
    done = run_stage_process("data_prep.fetch", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "examples:\n  python -m data_prep.fetch " in done.stdout
    assert "mirror=" in done.stdout
