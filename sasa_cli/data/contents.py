"""What is in image files: a hash of each, read once, and kept in the user's cache by path, size and time."""

import contextlib
import hashlib
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from sasa_cli.errors import DataError

BATCH = 10_000  # files whose hashes are kept at once, so that little is lost with an interrupted process
ANNOUNCED_BYTES = 4 * 2**30
TABLE = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, state TEXT NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID
"""


class _File(NamedTuple):
    path: bytes
    size: int
    state: str
    """Changes whenever the content does, as far as a file system tells."""


def content_hashes(root: Path, names: Sequence[str]) -> list[bytes]:
    """SHA-256 of the files ``names`` below ``root``.

    Raises:
        DataError: a file cannot be read.
    """
    files = [_look_at(root / name) for name in names]
    with _cache() as cache:
        known = _known(cache, files)
        unknown = [file for file in files if file.path not in known]
        _announce(root, sum(file.size for file in unknown))
        with ThreadPoolExecutor() as pool:
            for batch in _batches(unknown):
                hashes = dict(zip((file.path for file in batch), pool.map(_hash, batch), strict=True))
                _keep(cache, [(file.path, file.state, hashes[file.path]) for file in batch])
                known |= hashes
    return [known[file.path] for file in files]


def _batches(files: Sequence[_File]) -> Iterator[Sequence[_File]]:
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


def _look_at(path: Path) -> _File:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path.absolute()}: cannot be read: {error.strerror}") from error
    state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return _File(os.fsencode(path.absolute()), status.st_size, state)


def _hash(file: _File) -> bytes:
    try:
        with open(file.path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(f"{os.fsdecode(file.path)}: cannot be read: {error.strerror}") from error


def _announce(root: Path, size: int) -> None:
    if size > ANNOUNCED_BYTES:
        warnings.warn(
            f"{root}: reads {size / 2**30:.0f} GiB of images once, to know them again by their content", stacklevel=2
        )


@contextlib.contextmanager
def _cache() -> Iterator[sqlite3.Connection]:
    """The cache; an empty one in memory where it cannot be opened."""
    connection = None
    try:
        folder = user_cache_path("sasa")
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "images.sqlite", timeout=60)
        connection.execute(TABLE)
    except (OSError, RuntimeError, sqlite3.Error) as error:
        warnings.warn(f"images are read again each time, as the hashes of them cannot be kept: {error}", stacklevel=2)
        if connection is not None:
            connection.close()
        connection = sqlite3.connect(":memory:")
        connection.execute(TABLE)
    with contextlib.closing(connection):
        yield connection


def _known(cache: sqlite3.Connection, files: Sequence[_File]) -> dict[bytes, bytes]:
    """The hashes of those files that the cache has seen as they are."""
    if not files:
        return {}
    states = {file.path: file.state for file in files}
    first, last = min(states), max(states)
    rows = cache.execute("SELECT path, state, sha256 FROM files WHERE path BETWEEN ? AND ?", (first, last))
    return {path: sha256 for path, state, sha256 in rows if states.get(path) == state}


def _keep(cache: sqlite3.Connection, rows: Sequence[tuple[bytes, str, bytes]]) -> None:
    with contextlib.suppress(sqlite3.Error), cache:  # a full or locked cache costs time, never a result
        cache.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
