"""Bad inputs and what must come of them: each case is a row of docs/reliability.md and a run of a stage's real entry point."""

import contextlib
import ctypes
import hashlib
import io
import os
import resource
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from tests.conftest import HEADS

Arrange = Callable[[Path], Sequence[str]]
KEPT_ASIDE = {".lock", ".cache", "__pycache__"}  # what a stage may leave beside its results


@dataclass(frozen=True)
class Case:
    """A bad input: what it is, the stage that meets it, and a piece of the sentence that the stage then says.

    `arrange` makes it in an empty folder and returns the command line; in a command line that is given as it is, `{folder}` stands
    for that folder.
    """

    name: str
    what: str
    stage: str
    says: str
    arrange: Arrange | Sequence[str]

    def row(self) -> str:
        """The case as a row of the table."""
        return f"| `{self.name}` | {self.what} | {self.says} |".replace("\n", " ")


@dataclass(frozen=True)
class Outcome:
    """What a stage did: its exit code and what it printed."""

    code: int
    out: str
    err: str


def parametrised(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """One test for each case, by its name."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


def run_here(stage: str, *arguments: str, cwd: Path) -> Outcome:
    """`python -m <stage> <arguments>` in this process: importing torch anew for each case would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    code, before = 0, Path.cwd()
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", [stage, *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.chdir(cwd)
        try:
            with warnings.catch_warnings():
                # another test has imported the module: that it runs once more under another name is what is wanted
                warnings.filterwarnings("ignore", message=".*found in sys.modules after import of package", category=RuntimeWarning)
                runpy.run_module(stage, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            os.chdir(before)
    return Outcome(code, out.getvalue(), err.getvalue())


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below the folder with its content's hash, but for locks and caches."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if KEPT_ASIDE.isdisjoint(name.parts) and not path.is_dir():
            try:
                content = path.readlink().as_posix().encode() if path.is_symlink() else path.read_bytes()
            except PermissionError:
                content = b"locked"
            found[name.as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def check(case: Case, folder: Path) -> None:
    """Run the case: exit code 2, one sentence that says what was wrong, and not a file more, less or other than before."""
    arguments = case.arrange(folder) if callable(case.arrange) else [word.replace("{folder}", str(folder)) for word in case.arrange]
    before = snapshot(folder)
    outcome = run_here(case.stage, *arguments, cwd=folder)
    check_sentence(outcome, case.says)
    assert snapshot(folder) == before, "nothing half-written, nothing lost"


def check_sentence(outcome: Outcome, says: str) -> None:
    """Exit code 2 and one line of error that holds `says`."""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code == 2, outcome
    assert len(errors) == 1, outcome.err
    assert says in errors[0], errors[0]
    assert "Traceback" not in outcome.err


def own_mixture(folder: Path, contents: dict[str, bytes] | None = None, mixture: str = "", /, **source: Any) -> list[str]:
    """A mixture `mine` of one source `posts` below the folder, as a user would configure it; returns the command line."""
    settings: dict[str, Any] = {
        "name": "posts", "title": "t", "origin": "o", "licence": "l", "files": "posts.jsonl", "text": "text",
        "language": {"value": "en"}, "labels": {head: {head: {"1": 1, "0": 0, "": None}} for head in HEADS},
    }  # fmt: skip
    for name, content in (contents or {}).items():
        path = folder / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for group in ("source", "mixture"):
        (folder / "own" / group).mkdir(parents=True, exist_ok=True)
    (folder / "own" / "source" / "posts.yaml").write_text(yaml.safe_dump(settings | source), encoding="utf-8")
    (folder / "own" / "mixture" / "mine.yaml").write_text(
        f"defaults:\n  - /source@sources.posts: posts\nname: mine\n{mixture}", encoding="utf-8"
    )
    return [
        f"hydra.searchpath=[file://{folder}/own]", "mixture=mine", f"data_root={folder}/raw", f"data_dir={folder}/data", "engine.workers=1",
    ]  # fmt: skip


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Within, permissions bind root as they bind everyone: its powers over files are laid down and taken up again."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, held):
        raise OSError(ctypes.get_errno(), "capget")
    laid_down = (ctypes.c_uint32 * 6)(*held)
    laid_down[0] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    libc.capset(header, laid_down)
    try:
        yield
    finally:
        libc.capset(header, held)


def _mount(folder: Path, *options: str) -> bool:
    """Whether a file system in memory could be mounted there; a container may not allow it."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder on a disk that can only be read, or where none can be mounted, without permission to write there."""
    mounted = _mount(folder, "ro")
    if not mounted:
        folder.chmod(0o555)
    try:
        with without_root():
            yield
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A folder that holds so many KiB: a file system of its own, or where none can be mounted, a limit on the size of each file."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = _mount(disk, f"size={kib}k")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024 // 4, hard))
    try:
        yield disk
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(disk, ignore_errors=True)
