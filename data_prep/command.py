"""How a stage program talks to its user: Hydra composes, errors are one sentence, exit codes are documented.

Exit codes: 0 done, 1 judged and failed (the release gate, the leakage audit), 2 the input or the configuration is wrong,
130 and 143 stopped by a signal, 141 whoever read the output has gone (`| head`). docs/command_line.md
"""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_prep.secrets import mask_given

REPOSITORY = Path(__file__).resolve().parent.parent  # the checkout: configs, the embedded sample; results go to the working directory

_full_error = False

# What a system says when the place for a file is at fault and not the program, and what helps.
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room there, or give a folder on another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "correct its permissions, or give a folder that you may use"),
    errno.EROFS: "give a folder on a disk that can be written to",
    errno.ENOTDIR: "a file has the place of a folder: move it away, or give another folder",
    errno.ENAMETOOLONG: "give shorter names",
    errno.EIO: "the disk cannot be relied on: copy what is there to another and run this again",
}


class UserError(Exception):
    """Something the user can put right: the message is one sentence that names the cause and the cure."""

    exit_code = 2


class GateError(UserError):
    """The input is usable, and what was measured on it is not good enough: a gate, whose exit code scripts can tell apart."""

    exit_code = 1


def run_stage(main: Callable[[], object]) -> None:
    """Run a `@hydra.main` function; a user's mistake ends as one sentence on stderr and exit code 2.

    With `HYDRA_FULL_ERROR=1` in the environment every error is shown with its traceback instead.
    A program error (a bug of ours) always keeps its traceback, because its reader needs it.
    """
    global _full_error
    _full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    OmegaConf.register_new_resolver("options", config_options, replace=True)  # for --help: configs/hydra/help
    try:
        with user_errors():
            main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more when it exits
        sys.exit(141)


def config_options(group: str) -> str:
    """What `group=` takes: the names of the files in `configs/<group>/`.

    >>> config_options("engine")
    'local, ray'
    """
    return ", ".join(sorted(path.stem for path in (REPOSITORY / "configs" / group).glob("*.yaml")))


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistake, or a disk's or permission's refusal, into one sentence and exit code 2.

    Around a stage's body as well as around Hydra: an error that left the body through Hydra would gain a line of Hydra's.
    """
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if _full_error:
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, UserError) else 2)
    except Exception as error:
        told = system_sentence(error)
        if told is None or _full_error:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: nothing was published", file=sys.stderr)
        sys.exit(130)


def system_sentence(error: BaseException) -> str | None:
    """One line for an error of the file system that a user can put right (a full disk, missing permissions); None for any other.

    Libraries in Rust, and `shutil` for a folder, raise errors of their own that name the system's number.

    >>> system_sentence(RuntimeError("I/O error: No space left on device (os error 28)"))
    'No space left on device: make room there, or give a folder on another disk; nothing was published'
    >>> system_sentence(FileNotFoundError(2, "No such file or directory", "a.csv"))
    """
    named = re.search(r"(?:\(os error |\[Errno )(\d+)[)\]]", str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else int(named[1]) if named else None
    if number not in _CURES:
        return None
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place}{os.strerror(number)}: {_CURES[number]}; nothing was published"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing.

    >>> first_line(ValueError("\\nno header\\nin 3 files")), first_line(EOFError())
    ('no header', 'EOFError')
    """
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def sentence(error: Exception) -> str:
    """The error as one line, with the innermost cause that says more than its wrapper.

    >>> sentence(UserError("no such file: a.csv"))
    'no such file: a.csv'
    """
    if isinstance(error, UserError):
        return mask_given(" ".join(str(error).split()), sys.argv[1:])
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name} is not YAML: {error.problem} in line {mark.line + 1}, column {mark.column + 1}; correct it there"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__ or error.__context__
    if cause is not None and isinstance(cause, OmegaConfBaseException):
        lines += [line.strip() for line in str(cause).splitlines()[:1]]
    # Hydra appends search paths and object types: true, and of no help to the reader
    kept = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "provider=", "main,", "schema="))
    ]
    text = " | ".join(dict.fromkeys(kept))
    return (
        mask_given(text.replace("Config search path: |", "").strip(" |"), sys.argv[1:]) + " (see --help, or HYDRA_FULL_ERROR=1 for details)"
    )
