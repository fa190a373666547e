"""Train one run: from its spec to its folder, resumable at any time.

The same spec, seed, versions, device and number of threads give the same numbers, whether the run was interrupted or
not: the first weights, the batches and the updates of each epoch are seeded from the run's seed and the epoch.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sasa_cli.counting.macs import count_model
from sasa_cli.data.catalog import number_of_classes
from sasa_cli.errors import RunError
from sasa_cli.experiment.file import run_yaml
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.lock import locked
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord, read_record
from sasa_cli.spec import RunSpec
from sasa_cli.training.checks import check_machine, check_spec
from sasa_cli.training.devices import DeviceName, resolve_device
from sasa_cli.training.environment import repeatable
from sasa_cli.training.journal import Journal, utc_now
from sasa_cli.training.progress import EpochRow, Progress
from sasa_cli.training.session import Session

__all__ = ["EpochRow", "Progress", "RunOptions", "train_run"]


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; its spec says what it is."""

    device: DeviceName = "auto"
    resume: bool = True
    """False: remove what is there of the run and begin anew."""
    data_dir: Path | None = None
    threads: int | None = None
    """Of torch on the CPU; None: as many as torch takes."""


def train_run(
    spec: RunSpec, paths: RunPaths, options: RunOptions, progress: Callable[[Progress], None] | None = None
) -> RunRecord:
    """Train `spec` to the end and write all of `paths`; a run that is done is not trained again.

    Whatever goes wrong after training has begun is in the record, with its traceback, before it is raised. The run
    can then be resumed at the last full epoch. SIGTERM interrupts like Ctrl-C.

    Args:
        spec: What to train.
        paths: Where to; the folder is made.
        options: Device, data and whether to resume.
        progress: Called after updates, and with a row after each epoch. An exception from it ends the run.

    Raises:
        SpecError: this machine, or these images, cannot do what is asked.
        DataError: images are missing or broken.
        LockedError: another process is training this run.
        RunError: anything else.
        KeyboardInterrupt: interrupted.
    """
    device = resolve_device(options.device)
    check_spec(spec)
    check_machine(spec, device)
    make_folder(paths.folder)
    with locked(paths):
        if not options.resume:
            _remove_files(paths)
        earlier = _earlier_record(spec, paths)
        if earlier is not None and earlier.status == "done":
            return earlier
        _remove_leftovers(paths)
        journal = Journal(paths, _first_record(spec, earlier))
        with _sigterm_interrupts(), repeatable(device, options.threads), journal.watching():
            write_text(paths.spec, run_yaml(spec))
            journal.update()
            return Session(spec, journal, device, options.data_dir, progress).run()


def _earlier_record(spec: RunSpec, paths: RunPaths) -> RunRecord | None:
    try:
        earlier = read_record(paths)
    except RunError as error:
        raise RunError(f"{error}; start anew with --fresh") from error
    if earlier is not None and earlier.run_id != spec.run_id:
        raise RunError(
            f"{paths.record}: belongs to run {earlier.run_id}, not to {spec.run_id}; start anew with --fresh"
        )
    return earlier


def _first_record(spec: RunSpec, earlier: RunRecord | None) -> RunRecord:
    """The record of a run that is about to train; goes on from an earlier session's."""
    if earlier is not None:
        return earlier.model_copy(update={"status": "running", "error": None})
    count = count_model(spec.model, image_size=spec.data.image_size, num_classes=number_of_classes(spec.data))
    return RunRecord(
        status="running",
        run_id=spec.run_id,
        experiment=spec.experiment,
        label=spec.label,
        cell=spec.cell,
        cell_hash=spec.cell_hash,
        seed=spec.seed,
        started=utc_now(),
        params=count.params,
        macs=count.macs,
        macs_executed=count.macs_executed,
    )


def _files(paths: RunPaths) -> list[Path]:
    """Every file of a run but its lock. The record is the first: without it no other file counts."""
    return [paths.record, paths.checkpoint, paths.best, paths.metrics, paths.spec, paths.log]


def _remove_files(paths: RunPaths) -> None:
    for file in _files(paths):
        _remove(file)


def _remove_leftovers(paths: RunPaths) -> None:
    """Remove the temporary files of a session that was killed while it wrote."""
    for file in _files(paths):
        for leftover in paths.folder.glob(f".{file.name}.*"):
            _remove(leftover)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{file}: cannot be removed: {error.strerror}") from error


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside the block; only the main thread may set that up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
