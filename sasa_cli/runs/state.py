"""How far a run is, read from its folder: the one answer that sweeps, `--status` and reports give."""

from dataclasses import dataclass
from typing import Literal

from sasa_cli.errors import RunError
from sasa_cli.runs.lock import is_locked
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord, read_record

Status = Literal["done", "running", "interrupted", "failed", "missing"]


@dataclass(frozen=True)
class RunState:
    """Where a run stands."""

    status: Status
    record: RunRecord | None = None
    """None where there is none, or none that can be used."""
    note: str = ""
    """How far an unfinished run has come, or why it failed."""

    @property
    def is_broken(self) -> bool:
        """Whether there is a record that cannot be used; the note says why."""
        return self.status == "failed" and self.record is None


def state_of(paths: RunPaths) -> RunState:
    """The state of the run in this folder. A run that was killed says `running` itself, but nothing holds its lock."""
    try:
        record = read_record(paths)
        if record is not None:
            _check(paths, record)
    except RunError as error:
        return RunState("failed", None, str(error))
    if record is not None and record.status == "done":
        return RunState("done", record)
    epochs = f"after {record.epochs_done} epoch{'' if record.epochs_done == 1 else 's'}" if record else ""
    if is_locked(paths):
        return RunState("running", record, epochs or "no record yet")
    if record is None:
        return RunState("missing")
    if record.status == "failed":
        return RunState("failed", record, _failure(record))
    return RunState("interrupted", record, epochs)


def _check(paths: RunPaths, record: RunRecord) -> None:
    """A copied or renamed folder would count the same seed twice."""
    if record.run_id != paths.folder.name:
        raise RunError(f"{paths.record}: belongs to the run {record.run_id}, not to this folder")
    if record.status == "done" and record.metrics is None:
        raise RunError(f"{paths.record}: says done, but holds no metrics")


def _failure(record: RunRecord) -> str:
    error = record.error
    if error is None:
        return "no reason recorded"
    place = [f"{name} {at}" for name, at in (("epoch", error.epoch), ("step", error.step)) if at is not None]
    return f"{error.kind}: {error.message}" + (f" ({', '.join(place)})" if place else "")
