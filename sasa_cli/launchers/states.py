"""How far each run of a sweep is, read from its folder."""

from dataclasses import dataclass
from typing import Literal

from sasa_cli.errors import RunError
from sasa_cli.record import RunPaths, RunRecord, is_locked, read_record

RunStatus = Literal["done", "running", "failed", "missing"]


@dataclass(frozen=True)
class RunState:
    """A run as `sasa sweep --status` shows it."""

    status: RunStatus
    record: RunRecord | None = None
    note: str = ""


def state_of(paths: RunPaths) -> RunState:
    """The state of one run. A run that was killed or interrupted is missing: it has to be gone on with."""
    try:
        record = read_record(paths)
    except RunError as error:
        return RunState("failed", None, str(error))
    if is_locked(paths):
        return RunState("running", record)
    if record is None:
        return RunState("missing")
    if record.status == "done":
        return RunState("done", record)
    if record.status == "failed":
        return RunState("failed", record, record.error.message if record.error else "")
    return RunState("missing", record, f"interrupted after epoch {record.epochs_done}")
