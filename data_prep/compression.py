"""A file's bytes, whether it lies there as it is or packed as .gz or .zst; a packed file that breaks off is an OSError."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def unpacked_name(path: Path) -> Path:
    """The path without the extension of a compression.

    >>> unpacked_name(Path("posts.csv.gz")).name, unpacked_name(Path("posts.csv")).name
    ('posts.csv', 'posts.csv')
    """
    return path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file to be read once from its beginning, unpacked on the way and never held whole."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is None:
        return path.open("rb")
    return io.BufferedReader(pa.input_stream(str(path), compression=compression), 1 << 18)


@contextlib.contextmanager
def open_seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for a format that jumps about in it: a packed one is first unpacked into a temporary file."""
    if path.suffix.lower() not in COMPRESSIONS:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:
        with open_bytes(path) as packed:
            shutil.copyfileobj(packed, unpacked)
        unpacked.seek(0)
        yield unpacked
