"""Atomic files and folders: a reader sees the old result or the new one, whole, and never a half."""

import contextlib
import ctypes
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.command import UserError

try:
    import fcntl
except ImportError:  # not on Windows: there, what a killed process left is not removed
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it becomes `target`, on any error it vanishes.

    The previous `target`, if any, changes places with it in one step where the system can (Linux), so that a process
    killed at any moment leaves the old or the new one, whole; elsewhere it is moved aside first and deleted last. Of two
    processes with one target the last to finish has the last word, and what killed ones left beside it is removed.

    Raises
    ------
    UserError
        If nothing can be written beside `target`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, held = _begin_folder(target)
    except OSError as error:
        raise UserError(f"cannot write to {target.parent}: {error.strerror}; give a folder that is writable and has space") from error
    try:
        yield partial
        open_as_umask_says(partial)
        _take_place(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(held)


def _begin_folder(target: Path) -> tuple[Path, int]:
    """An empty folder beside `target` and the handle that keeps it locked, while abandoned ones, which nobody locks, are removed."""
    parent = _open_folder(target.parent)
    try:
        may_lock = _lock(parent, wait=True)  # nobody may take a folder that is made but not yet locked for an abandoned one
        for abandoned in target.parent.glob(f".{target.name}.partial-*") if may_lock else ():
            with contextlib.suppress(OSError):
                handle = _open_folder(abandoned)
                if _lock(handle, wait=False):
                    shutil.rmtree(abandoned, ignore_errors=True)
                os.close(handle)
        partial = _unused_name(target, "partial-")
        partial.mkdir()
        held = _open_folder(partial)
        _lock(held, wait=False)
        return partial, held
    finally:
        os.close(parent)


def _open_folder(folder: Path) -> int:
    """A handle to lock a folder by; on Windows, which opens no folder, one that locks nothing."""
    return os.open(folder if fcntl else os.devnull, os.O_RDONLY)


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open file or folder until its handle is closed; False where another holds it or the system cannot."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _unused_name(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}{secrets.token_hex(6)}")


def _take_place(partial: Path, target: Path) -> None:
    try:
        os.replace(partial, target)  # fails on a folder that is not empty
    except OSError:
        if not target.exists():
            raise
    else:
        return
    if _exchange(partial, target):
        shutil.rmtree(partial, ignore_errors=True)
        return
    previous = _unused_name(target, "partial-")
    previous.mkdir()
    os.replace(target, previous / target.name)
    os.replace(partial, target)
    shutil.rmtree(previous, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system has no such call."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    current_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
    return renameat2(current_folder, os.fsencode(one), current_folder, os.fsencode(other), exchange) == 0  # type: ignore[no-any-return]


def open_as_umask_says(folder: Path) -> None:
    """Let whoever may read a folder read the files in it: libraries write large weights for their owner alone, whatever the umask."""
    readers = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | readers)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically; who may read it is as the user's umask says."""
    temporary = _unused_name(path, "")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
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
