"""Atomic files and folders: a reader sees the old result or the new one, whole, and never a half."""

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.command import UserError


@contextlib.contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it becomes `target`, on any error it vanishes.

    The previous `target`, if any, changes places with it in one step where the system can (Linux), so that a process
    killed at any moment leaves the old or the new one, whole; elsewhere it is moved aside first and deleted last.

    Raises
    ------
    UserError
        If nothing can be written beside `target`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise UserError(f"cannot write to {target.parent}: {error.strerror}; give a folder that is writable and has space") from error
    try:
        partial.chmod(0o755)
        yield partial
        if not target.exists():
            os.replace(partial, target)
        elif _exchange(partial, target):
            shutil.rmtree(partial)
        else:
            previous = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
            os.replace(target, previous / target.name)
            os.replace(partial, target)
            shutil.rmtree(previous)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system has no such call."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    current_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
    return renameat2(current_folder, os.fsencode(one), current_folder, os.fsencode(other), exchange) == 0  # type: ignore[no-any-return]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN is an error, not a token."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    UserError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the stage that writes it has not run or was interrupted") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): run the stage that writes it again") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
