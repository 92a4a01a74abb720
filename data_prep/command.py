"""How a stage program talks to its user: Hydra composes, errors are one sentence, exit codes are documented.

Exit codes: 0 done, 1 judged and failed (the release gate, the leakage audit), 2 the input or the configuration is wrong,
130 and 143 stopped by a signal, 141 whoever read the output has gone (`| head`). docs/command_line.md
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

REPOSITORY = Path(__file__).resolve().parent.parent  # the checkout: configs, the embedded sample; results go to the working directory

_full_error = False


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
    """Turn a user's mistake into one sentence and exit code 2.

    Around a stage's body as well as around Hydra: an error that left the body through Hydra would gain a line of Hydra's.
    """
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if _full_error:
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, UserError) else 2)
    except KeyboardInterrupt:
        print("interrupted: nothing was published", file=sys.stderr)
        sys.exit(130)


def sentence(error: Exception) -> str:
    """The error as one line, with the innermost cause that says more than its wrapper.

    >>> sentence(UserError("no such file: a.csv"))
    'no such file: a.csv'
    """
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__ or error.__context__
    if cause is not None and isinstance(cause, OmegaConfBaseException):
        lines += [line.strip() for line in str(cause).splitlines()[:1]]
    # Hydra appends search paths and object types: true, and of no help to the reader
    kept = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "provider=", "main,", "schema="))
    ]
    text = " | ".join(dict.fromkeys(kept))
    return text.replace("Config search path: |", "").strip(" |") + " (see --help, or HYDRA_FULL_ERROR=1 for details)"
