"""Train one run: from its spec to its folder, resumable at any time.

The same spec, seed, versions, device and number of threads give the same numbers, whether the run was interrupted or
not: the first weights, the batches and the updates of each epoch are seeded from the run's seed and the epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sasa_cli.counting.macs import count_model
from sasa_cli.data.catalog import number_of_classes
from sasa_cli.errors import RunError, SpecError
from sasa_cli.experiment.file import load_experiment, run_yaml
from sasa_cli.experiment.sweep import base_run
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.lock import locked
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord, read_record
from sasa_cli.runs.sockets import shorten_socket_paths
from sasa_cli.spec import RunSpec
from sasa_cli.training.checks import check_machine, check_spec
from sasa_cli.training.devices import DeviceName, resolve_device
from sasa_cli.training.environment import repeatable
from sasa_cli.training.interruption import Interruption
from sasa_cli.training.journal import Journal, utc_now
from sasa_cli.training.progress import EpochRow, Progress
from sasa_cli.training.session import Session

__all__ = ["EpochRow", "Progress", "RunOptions", "train_run"]


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; its spec says what it is."""

    device: DeviceName = "auto"
    resume: bool = True
    """False: begin anew, in the place of what is there of the run."""
    data_dir: Path | None = None
    threads: int | None = None
    """Of torch on the CPU, where neither the recipe nor an earlier sitting says; None: as many as torch takes."""


def train_run(
    spec: RunSpec, paths: RunPaths, options: RunOptions, progress: Callable[[Progress], None] | None = None
) -> RunRecord:
    """Train `spec` to the end and write all of `paths`; a run that is done is not trained again.

    Images, network and checkpoint are made ready first; until then all that is there of the run stays as it is.
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
    shorten_socket_paths()  # those of loader processes
    device = resolve_device(options.device)
    check_spec(spec)
    check_machine(spec, device)
    make_folder(paths.folder)
    with locked(paths):
        earlier = _earlier_record(spec, paths) if options.resume else None
        if earlier is not None and earlier.status == "done":
            return earlier
        _remove_leftovers(paths)
        journal = Journal(paths, _first_record(spec, earlier))
        interruption = Interruption()
        with interruption.heard(), repeatable(device, _threads(spec, options, earlier)), journal.watching():
            session = Session(spec, journal, device, options.data_dir, progress)
            if options.resume:
                session.take_up_checkpoint()
            with interruption.held():
                _begin(spec, journal, anew=not options.resume)
            return session.run(interruption)


def _threads(spec: RunSpec, options: RunOptions, earlier: RunRecord | None) -> int | None:
    """As the recipe says, else as in the sitting before, else as the caller: other threads sum in another order."""
    before = None
    if earlier is not None and earlier.epochs_done and earlier.environment is not None:
        before = earlier.environment.threads
    return spec.recipe.threads or before or options.threads


def _begin(spec: RunSpec, journal: Journal, *, anew: bool) -> None:
    """Write the first files of a sitting; `anew`, they take the place of an earlier run's.

    The earlier record goes only when the new one takes its place, after the checkpoint, which it speaks for.
    """
    paths = journal.paths
    if anew:
        _remove(paths.checkpoint)
        _remove(paths.log)
    write_text(paths.spec, run_yaml(spec))
    journal.begin()
    if anew:
        for file in (paths.best, paths.next_best, paths.metrics):
            _remove(file)


def _earlier_record(spec: RunSpec, paths: RunPaths) -> RunRecord | None:
    try:
        earlier = read_record(paths)
    except RunError as error:
        raise RunError(f"{error}; start anew with --fresh") from error
    if earlier is not None and earlier.run_id != spec.run_id:
        raise RunError(
            f"{paths.record}: belongs to run {earlier.run_id}, not to {spec.run_id}; start anew with --fresh"
        )
    _check_settings(spec, paths)
    return earlier


def _check_settings(spec: RunSpec, paths: RunPaths) -> None:
    """Refuse to go on with a run of other settings whose name is the same: eight digits of a hash can be.

    Raises:
        RunError: the folder's spec says other settings.
    """
    try:
        stored = base_run(load_experiment(str(paths.spec)), None)
    except SpecError:  # absent, or damaged: a run says what it is in its name and record
        return
    if stored.identity != spec.identity:
        raise RunError(
            f"{paths.spec}: other settings under the same name {spec.run_id}; train them into another folder with --out"
        )


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


def _remove_leftovers(paths: RunPaths) -> None:
    """Remove the temporary files of a session that was killed while it wrote."""
    for file in (paths.record, paths.checkpoint, paths.best, paths.next_best, paths.metrics, paths.spec):
        for leftover in paths.folder.glob(f".{file.name}.*"):
            _remove(leftover)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{file}: cannot be removed: {error.strerror}") from error
