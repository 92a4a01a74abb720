"""One at a time in a data folder."""

import shutil
from pathlib import Path

import filelock

from data_prep.command import UserError


class alone_in:  # noqa: N801 - reads as a phrase
    """Nobody else prepares or audits data in the folder meanwhile; what a killed run left there is removed.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = filelock.FileLock(data_dir / ".lock")

    def __enter__(self) -> None:
        try:
            (self._data_dir / ".cache").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {self._data_dir}: {error.strerror}; give a data_dir that is writable") from error
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"another run prepares data in {self._data_dir}: waiting for it to end")
            self._lock.acquire()
        for pattern in (".*.partial-*", ".cache/.*.partial-*", ".cache/near-duplicates-*"):
            for path in self._data_dir.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def __exit__(self, *error: object) -> None:
        self._lock.release()
