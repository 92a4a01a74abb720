"""Runs `python -m ...` for the tests, in forks of a process that has already imported what the stages import.

Starting Python and importing takes longer than most of these commands run. A fork begins where `python -m` would: its own
arguments, folder, environment, standard output and error, and no thread of another command's.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = ("train.stage", "export.bundle", "evaluate.__main__", "evaluate.functional.__main__", "evaluate.label_audit")


@cache
def server() -> "subprocess.Popen[str]":
    """The process that forks; it ends when its input does, with the tests."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_warm(*arguments: str, cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """What `subprocess.run([sys.executable, "-m", *arguments])` would return."""
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        order = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "folder": folder}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        out, error = ((Path(folder) / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "error"))
    return subprocess.CompletedProcess([sys.executable, "-m", *arguments], code, out, error)


def serve() -> None:
    """Fork a process for each order on standard input, and answer with its exit code."""
    for name in PRELOADED:
        __import__(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(**order))  # threads of the libraries did not come along: an orderly end would wait for them
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(arguments: list[str], cwd: str, environment: dict[str, str], folder: str) -> int:
    """Be the command, in a fork; returns its exit code."""
    os.chdir(cwd)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "error")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = arguments
    sys.path[0] = cwd
    code = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    serve()
