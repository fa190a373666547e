"""One run in whatever process a launcher has for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sasa_cli.errors import BrokenFileError, LockedError, SasaError
from sasa_cli.launchers.interface import LaunchOptions
from sasa_cli.runs.paths import ExperimentPaths, RunPaths
from sasa_cli.runs.record import Failure, read_record, write_record
from sasa_cli.runs.state import RunState, state_of
from sasa_cli.spec import RunSpec
from sasa_cli.training.devices import DeviceName


@dataclass(frozen=True)
class Refusal:
    """An error on its way from one process to another."""

    message: str
    exit_code: int
    locked: bool

    @classmethod
    def of(cls, error: SasaError) -> Self:
        return cls(str(error), error.exit_code, isinstance(error, LockedError))

    def as_error(self) -> SasaError:
        error = SasaError(self.message)
        error.exit_code = self.exit_code
        return error


@dataclass(frozen=True)
class Job:
    """A run, ready to be sent to another process and called there."""

    spec: RunSpec
    paths: RunPaths
    device: DeviceName
    data_dir: Path | None
    threads: int | None = None

    @classmethod
    def elsewhere(cls, spec: RunSpec, results: ExperimentPaths, options: LaunchOptions, threads: int) -> Self:
        """A job for another machine, which knows the folders by their full paths only."""
        paths = ExperimentPaths(results.folder.absolute()).run(spec.run_id)
        data_dir = options.data_dir.absolute() if options.data_dir else None
        return cls(spec, paths, options.device, data_dir, threads)

    def __call__(self) -> Refusal | None:
        """Train; errors are in the record, and come back for those that cannot be there.

        Raises:
            KeyboardInterrupt: interrupted; the run can be gone on with.
        """
        from sasa_cli.training.run import RunOptions, train_run

        options = RunOptions(device=self.device, data_dir=self.data_dir, threads=self.threads)
        try:
            _set_broken_record_aside(self.paths)
            train_run(self.spec, self.paths, options)
        except SasaError as error:
            return Refusal.of(error)
        return None


def _set_broken_record_aside(paths: RunPaths) -> None:
    """A record that cannot be read is kept under another name; the run makes a new one from its checkpoint."""
    try:
        read_record(paths)
    except BrokenFileError:
        paths.record.replace(paths.record.with_name(f"{paths.record.name}.broken"))


def ended_state(paths: RunPaths, refusal: Refusal | None, death: str | None) -> RunState:
    """The state of a run whose process has ended; what ended it is recorded here where it could not do that itself.

    Args:
        paths: Where the run is.
        refusal: What the run answered.
        death: How its process died, where it did not come to its end.
    """
    if refusal and refusal.locked:
        return RunState("running", None, refusal.message)
    state = state_of(paths)
    message = refusal.message if refusal else death
    if state.status not in ("missing", "interrupted") or message is None:
        return state
    if state.record is not None and death:  # a refusal leaves what an earlier attempt came to as it is
        failure = Failure(kind="RunError", message=message, traceback="", epoch=state.record.epochs_done)
        write_record(paths, state.record.model_copy(update={"status": "failed", "error": failure}))
    return RunState("failed", state.record, message)
