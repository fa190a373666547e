"""Two processes never train the same run; looking neither locks nor writes; file systems without locks."""

import contextlib
import errno
import fcntl
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sasa_cli.errors import LockedError, RunError
from sasa_cli.runs import lock
from sasa_cli.runs.lock import is_locked, locked
from sasa_cli.runs.paths import RunPaths

HOLDER = """
import os, sys, time
from pathlib import Path
from sasa_cli.runs.lock import locked
from sasa_cli.runs.paths import RunPaths
with locked(RunPaths(Path(sys.argv[1]))):
    loader = os.fork() if sys.argv[2] == "fork" else 1  # a loader of images outlives its run for a moment
    if loader == 0:
        time.sleep(60)
    print("held", loader, flush=True)
    sys.stdin.readline()
os._exit(0)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


@pytest.fixture
def holder(run: RunPaths) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(run.folder), "alone"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("held")
        yield process
        process.kill()


def test_another_process_is_kept_out_until_it_ends(run: RunPaths, holder: subprocess.Popen[str]):
    assert is_locked(run)
    with pytest.raises(LockedError, match="another process"), locked(run):
        pass
    holder.kill()
    holder.wait()
    assert not is_locked(run)
    with locked(run):
        assert is_locked(run)
        with pytest.raises(LockedError), locked(run):
            pass
    assert not is_locked(run)


def test_looking_in_the_training_process_does_not_lose_the_lock(run: RunPaths):
    with locked(run):
        assert is_locked(run)
        child = multiprocessing.get_context("spawn").Process(target=must_be_locked, args=(run,))
        child.start()
        child.join()
        assert child.exitcode == 0


def must_be_locked(run: RunPaths) -> None:
    assert is_locked(run)


def test_looking_needs_no_lock_and_changes_nothing(run: RunPaths):
    """A reader took the lock for a moment, and so made starts fail."""
    with locked(run):
        pass
    before = (run.folder.stat(), run.lock.stat(), sorted(run.folder.iterdir()))
    command = [sys.executable, "-c", LOOKER, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looker:
        assert looker.stdout
        looker.stdout.readline()
        for _ in range(300):
            with locked(run):
                pass
        looker.kill()
    after = (run.folder.stat(), run.lock.stat(), sorted(run.folder.iterdir()))
    assert [stat.st_mtime_ns for stat in after[:2]] == [stat.st_mtime_ns for stat in before[:2]]
    assert after[2] == before[2]


LOOKER = """
import sys
from pathlib import Path
from sasa_cli.runs.lock import is_locked
from sasa_cli.runs.paths import RunPaths
print("looking", flush=True)
while True:
    is_locked(RunPaths(Path(sys.argv[1])))
"""


def test_looking_opens_for_reading_only(run: RunPaths, monkeypatch: pytest.MonkeyPatch):
    with locked(run):
        pass
    really_open = os.open
    flags: list[int] = []
    monkeypatch.setattr(os, "open", lambda path, flag, *rest: flags.append(flag) or really_open(path, flag, *rest))
    assert not is_locked(run)
    assert flags == [os.O_RDONLY]


def test_a_loader_that_outlives_its_run_does_not_hold_its_lock(run: RunPaths):
    command = [sys.executable, "-c", HOLDER, str(run.folder), "fork"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        loader = int(process.stdout.readline().split()[1])
        process.kill()
        process.wait()
        try:
            os.kill(loader, 0)  # it lives
            assert not is_locked(run)
        finally:
            os.kill(loader, 9)


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.6)


@pytest.mark.usefixtures("without_locks")
def test_a_file_system_without_locks_gets_a_lease(run: RunPaths):
    with contextlib.ExitStack() as training:
        with pytest.warns(RuntimeWarning, match="no locks"):
            training.enter_context(locked(run))
        lock._held.remove(run.lock.absolute())  # as another process sees it
        time.sleep(1)  # it is renewed
        assert is_locked(run)
        with pytest.warns(RuntimeWarning), pytest.raises(LockedError):
            training.enter_context(locked(run))
        lock._held.add(run.lock.absolute())
    assert not run.lease.exists()


@pytest.mark.usefixtures("without_locks")
def test_a_lease_of_a_process_that_died_is_taken_over(run: RunPaths):
    run.lease.write_text("elsewhere 1\n")
    run.lock.touch()
    assert is_locked(run)
    time.sleep(0.7)
    assert not is_locked(run)
    with pytest.warns(RuntimeWarning), locked(run):
        assert run.lease.read_text().split()[1] == str(os.getpid())
    assert sorted(file.name for file in run.folder.iterdir()) == [".lock"]


def test_other_failures_are_told(run: RunPaths, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "lockf", fail)
    with pytest.raises(RunError, match="cannot be locked"), locked(run):
        pass
