"""Bad input from the network: a hub or mirror that hangs, refuses or lies; and what the client is sent."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.harness import Case, check, check_sentence, own_mixture, parametrised, read_only, run_here, small_disk

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = b"text,label\nrain in Ruvel,0\n" * 400


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://ada:pa55word@127.0.0.1:{port}"


class _Lying(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def mirror() -> Iterator[str]:
    """A server that gives one file whatever it is asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Lying) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(folder: Path, digest: str, path: str = "posts.csv", address: str = "") -> list[str]:
    """A mixture whose one source lists one file to download."""
    (folder / "sums").write_text(f"{digest}  {path}\n", encoding="utf-8")
    download = {
        "repository": "dalmire/posts",
        "commit": COMMIT,
        "checksums": str(folder / "sums"),
        "paths": {"{name}": "{name}", path: path},
    }
    command = own_mixture(folder, download=download, files="posts.csv")
    (folder / "raw").mkdir()
    return [word for word in command if not word.startswith(("data_dir", "engine"))] + [f"mirror={address}"]


RIGHT, WRONG = hashlib.sha256(FILE).hexdigest(), "0" * 64
FETCH = [
    Case(
        "fetch-mirror-hangs",
        "a mirror that accepts and never answers",
        "data_prep.fetch",
        "run this again on a network that reaches it",
        [RIGHT, "posts.csv"],
    ),
    Case("fetch-mirror-refuses", "a mirror where nobody listens", "data_prep.fetch", "Connection refused", [RIGHT, "posts.csv"]),
    Case("fetch-bytes-wrong", "a mirror that gives other bytes", "data_prep.fetch", "and is not kept", [WRONG, "posts.csv"]),
    Case(
        "fetch-path-climbs",
        "a checksum file that lists `../posts.csv`",
        "data_prep.fetch",
        "which leaves its folder",
        [RIGHT, "../posts.csv"],
    ),
    Case("fetch-file-in-place", "somebody's own file where a download belongs", "data_prep.fetch", "move them away", [RIGHT, "posts.csv"]),
    Case(
        "fetch-not-writable",
        "data_root on a disk that can only be read",
        "data_prep.fetch",
        "give a data_root that is writable",
        [RIGHT, "posts.csv"],
    ),
    Case(
        "fetch-disk-full",
        "a disk that fills up in a download",
        "data_prep.fetch",
        "give a data_root that is writable and has space",
        [RIGHT, "posts.csv"],
    ),
]


@parametrised(FETCH)
def test_a_download_that_fails_is_one_sentence(
    case: Case, tmp_path: Path, silent: str, refusing: str, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("requests.sessions.Session.request", _impatient)
    digest, path = case.arrange  # type: ignore[misc]
    address = {"fetch-mirror-hangs": silent, "fetch-mirror-refuses": refusing}.get(case.name, mirror)
    command = fetched(tmp_path, digest, path, address)
    if case.name == "fetch-file-in-place":
        (tmp_path / "raw" / "posts.csv").write_text("mine", encoding="utf-8")
    ready = Case(case.name, case.what, case.stage, case.says, command)
    match case.name:
        case "fetch-not-writable":
            with read_only(tmp_path / "raw"):
                check(ready, tmp_path)
        case "fetch-disk-full":
            with small_disk(tmp_path, 8) as disk:
                check_sentence(run_here(case.stage, *command, f"data_root={disk}", cwd=tmp_path), case.says)
                assert not (disk / "posts.csv").exists()
        case _:
            check(ready, tmp_path)


def _impatient(self: Any, method: str, url: str, **options: Any) -> Any:
    """`requests` as it is, with a patience of a fraction of a second."""
    options["timeout"] = (0.3, 0.3)
    return _request(self, method, url, **options)


from requests.sessions import Session  # noqa: E402

_request = Session.request


def test_a_password_in_an_address_is_not_printed(tmp_path: Path, refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    outcome = run_here("data_prep.fetch", *fetched(tmp_path, RIGHT, address=refusing), cwd=tmp_path)
    assert "pa55word" not in outcome.out + outcome.err
    assert "***@127.0.0.1" in outcome.out


HUB = [
    Case(
        "hub-hangs-for-an-encoder",
        "a model hub that accepts and never answers",
        "train",
        "hf download",
        ["encoder=xlmr_base", "mixture=sample"],
    ),
    Case(
        "hub-hangs-for-a-data-set", "a data hub that accepts and never answers", "data_prep", "cannot be read from the Hugging Face hub", []
    ),
    Case("hub-refuses-for-an-encoder", "a model hub where nobody listens", "train", "hf download", ["encoder=xlmr_base", "mixture=sample"]),
]


@parametrised(HUB)
def test_a_hub_that_does_not_answer_is_one_sentence(
    case: Case, tmp_path: Path, prepared_sample: Path, silent: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in {"HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(tmp_path / "hub"), "ENDPOINT": silent}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    if "refuses" in case.name:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", re.sub("ada:.*@", "", refusing))
    monkeypatch.setattr("data_prep.hub.PATIENCE_S", 0.3)
    command = [*case.arrange, f"data_dir={prepared_sample}"]  # type: ignore[misc]
    if case.stage == "data_prep":
        command = own_mixture(tmp_path, files="hf://dalmire/posts")
    check(Case(case.name, case.what, case.stage, case.says, command), tmp_path)


# ---- the client that ships with a release: a line that is no post is answered with an error, and the others as ever
LINES = [
    ("client-not-json", "a line that is no JSON", "hello", "Expecting value"),
    ("client-broken-off", "a line that breaks off", '{"text": "a', "not a post"),
    ("client-no-object", "a line that is an array", "[1]", 'no object with a string "text"'),
    ("client-no-text", "a post without text", '{"language": "en"}', 'no object with a string "text"'),
    ("client-text-not-a-string", "a text that is a number", '{"text": 1}', 'no object with a string "text"'),
    ("client-language-not-a-string", "a language that is a list", '{"text": "a", "language": ["en"]}', '"language" is no string'),
    ("client-nested", "JSON nested 100,000 deep", "[" * 100_000, "nested too deep"),
]


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "stream"])
def test_the_client_answers_each_line(batch: bool, tiny_workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "artifact")
    good = json.dumps({"text": "rain in Ruvel", "language": "en"})
    posts = "\n".join([good, *(line for _, _, line, _ in LINES), "", json.dumps({"text": "a\ud800\0" + "x" * 100_000}), good]) + "\n"
    (tmp_path / "posts.jsonl").write_bytes(posts.encode() + b'{"text": "\xff\xfe"}\n')
    command = [sys.executable, "-I", str(tmp_path / "artifact" / "predict.py"), *(["--batch", "posts.jsonl"] if batch else [])]
    done = subprocess.run(command, input=(tmp_path / "posts.jsonl").read_bytes(), capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == len(LINES) + 4
    for (name, _, _, says), answer in zip(LINES, answers[1:], strict=False):
        assert says in answer["error"], name
    assert answers[0] == answers[-2]
    assert all("propaganda" in answer for answer in (answers[0], *answers[-3:]))


CLIENT = [
    ("client-file-missing", "`--batch` with a file that is not there", ["--batch", "none.jsonl"], "No such file"),
    ("client-variant-unknown", "`--variant int4`", ["--variant", "int4"], "choose one of"),
]


@pytest.mark.parametrize("case", CLIENT, ids=lambda case: case[0])
def test_the_client_refuses_with_exit_code_2(case: tuple[str, str, list[str], str], tiny_workspace: Path, tmp_path: Path) -> None:
    client = tiny_workspace / "releases" / "tiny" / "artifact" / "predict.py"
    done = subprocess.run([sys.executable, "-I", "-B", str(client), *case[2]], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert case[3] in done.stderr
    assert "Traceback" not in done.stderr


CASES = [*FETCH, *HUB]
