"""Texts to token ids, once: what was tokenised before is read back from a cache."""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tqdm import tqdm

CHUNK = 2000  # texts tokenised at once
KEPT = 12  # cached encodings: those of a few runs

Ids = npt.NDArray[np.int32]


def encode(texts: Sequence[str], tokenizer: Tokenizer, cache: Path | None = None) -> list[Ids]:
    """The token ids of each text, special tokens included and cut at the tokenizer's length.

    Parameters
    ----------
    cache
        A folder for encodings, each named by the hash of the tokenizer and the texts; one that cannot be read is made anew.
    """
    if cache is None:
        return list(_encoded(texts, tokenizer))
    digest = hashlib.sha256(tokenizer.to_str().encode())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    path = cache / f"{digest.hexdigest()[:32]}.npy"
    try:
        joined = _undamaged(np.load(path, allow_pickle=False))
        path.touch()  # the least recently used are removed first
    except (OSError, ValueError, EOFError):
        rows = list(_encoded(texts, tokenizer))
        lengths = np.asarray([len(row) for row in rows], dtype=np.int32)
        joined = np.concatenate([np.asarray([len(rows)], dtype=np.int32), lengths, *rows])
        _save(path, joined)
    count = int(joined[0])
    return np.split(joined[1 + count :], np.cumsum(joined[1 : 1 + count], dtype=np.int64)[:-1]) if count else []


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterable[Ids]:
    for start in tqdm(range(0, len(texts), CHUNK), desc="tokenising", unit=f" x {CHUNK:,} texts", leave=False, disable=None):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + CHUNK]):
            yield np.asarray(encoding.ids, dtype=np.int32)


def _undamaged(kept: Ids) -> Ids:
    """What was kept, without the checksum at its end; a ValueError if it is not what was kept."""
    if kept.ndim != 1 or len(kept) < 2 or kept.dtype != np.int32 or zlib.crc32(kept[:-1].tobytes()) != int(kept[-1:].view(np.uint32)[0]):
        raise ValueError("damaged")
    return kept[:-1]


def _save(path: Path, joined: Ids) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = np.asarray([zlib.crc32(joined.tobytes())], dtype=np.uint32).view(np.int32)
    # what a killed process leaves ends in .npy too, so that it is removed with the least recently used
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="partial-", suffix=".npy")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, np.concatenate([joined, checksum]))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    for outdated in sorted(path.parent.glob("*.npy"), key=lambda entry: -entry.stat().st_mtime)[KEPT:]:
        outdated.unlink(missing_ok=True)
