"""The lock that keeps two processes from training the same run, and a look at it that neither takes nor writes it.

POSIX record locks: the system lets go of them when the process ends, however it ends; processes that it forks, such as
loaders of images, do not inherit them; and whether one is held can be asked without taking it. Where a file system
has none (Lustre without `-o flock`, some NFS), a lease stands in: a file whose time its holder renews.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from sasa_cli.errors import LockedError, RunError
from sasa_cli.runs.paths import RunPaths

LEASE_SECONDS = 120.0
"""A lease that was not renewed for so long is of a process that died."""
RENEWALS = 6  # within that time, so that a slow file server does not cost a lease
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
TAKEN = (errno.EACCES, errno.EAGAIN)
# struct flock: type, whence, start, length, pid; in another order on macOS.
FLOCK, TYPE_AT = ("qqihh", 3) if sys.platform == "darwin" else ("hhqqi", 0)
WHOLE_FILE = (0, 0, 0, fcntl.F_WRLCK, 0) if sys.platform == "darwin" else (fcntl.F_WRLCK, 0, 0, 0, 0)

_held: set[Path] = set()  # by this process, which would not see its own record locks, and would lose them by looking


@contextlib.contextmanager
def locked(paths: RunPaths) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        LockedError: another process holds it.
        RunError: it cannot be written.
    """
    file = paths.lock.absolute()
    if file in _held:
        raise _taken(paths)
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"{paths.lock}: cannot be written: {error.strerror}") from error
    try:
        with _lock(handle, paths):
            _held.add(file)
            try:
                yield
            finally:
                _held.remove(file)
    finally:
        os.close(handle)


def is_locked(paths: RunPaths) -> bool:
    """Whether a process is training this run now. Needs no permission but to read, and disturbs nobody."""
    if paths.lock.absolute() in _held:
        return True
    try:
        handle = os.open(paths.lock, os.O_RDONLY)
    except OSError:  # there is none, or it is not ours to look at
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(FLOCK, *WHOLE_FILE))
        return bool(struct.unpack(FLOCK, answer)[TYPE_AT] != fcntl.F_UNLCK)
    except OSError:
        return _is_live(paths.lease)
    finally:
        os.close(handle)


def _taken(paths: RunPaths) -> LockedError:
    return LockedError(f"{paths.folder}: another process is training this run")


def _lock(handle: int, paths: RunPaths) -> contextlib.AbstractContextManager[None]:
    """Take the record lock, which goes with the handle, or a lease where there are no such locks."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            raise _taken(paths) from error
        if error.errno not in NO_LOCKS:
            raise RunError(f"{paths.lock}: cannot be locked: {error.strerror}") from error
        return _leased(paths)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _leased(paths: RunPaths) -> Iterator[None]:
    warnings.warn(
        f"{paths.folder}: this file system has no locks; {paths.lease.name} stands in for one, and a run that was "
        f"killed counts as running for {LEASE_SECONDS:.0f} seconds",
        RuntimeWarning,
        stacklevel=2,
    )
    _take_lease(paths)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(paths.lease, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        paths.lease.unlink(missing_ok=True)


def _take_lease(paths: RunPaths) -> None:
    if paths.lease.exists() and not _is_live(paths.lease):
        # Whoever renames it first has it; what was renewed meanwhile is given back.
        stale = paths.lease.with_name(f"{paths.lease.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            paths.lease.rename(stale)
            if _is_live(stale):
                stale.rename(paths.lease)
                raise _taken(paths)
            stale.unlink()
    try:
        handle = os.open(paths.lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        raise _taken(paths) from error
    except OSError as error:
        raise RunError(f"{paths.lease}: cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as lease:
        lease.write(f"{socket.gethostname()} {os.getpid()}\n")


def _renew(lease: Path, ended: threading.Event) -> None:
    while not ended.wait(LEASE_SECONDS / RENEWALS):
        with contextlib.suppress(OSError):  # a file server that is away for a moment
            os.utime(lease)


def _is_live(lease: Path) -> bool:
    try:
        return time.time() - lease.stat().st_mtime < LEASE_SECONDS
    except OSError:
        return False
