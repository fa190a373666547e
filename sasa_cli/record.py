"""What a run leaves on disk: the names of its files, its record, and writes that never leave half a file.

Everything here is plain data, so that reports need no torch. Run folders are the truth: whatever else is
shown about an experiment is derived from them.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sasa_cli.errors import LockedError, RunError

Status = Literal["running", "done", "failed", "interrupted"]


class Part(BaseModel):
    """Base of all parts of a record: immutable and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


P = TypeVar("P", bound=Part)


class Scores(Part):
    """One evaluation of one set of weights on one split."""

    loss: float
    top1: float
    """Per cent of images whose class is ranked first."""
    top5: float


class Evaluation(Part):
    """The scores after one epoch, of the trained weights and of their moving average (absent without EMA)."""

    epoch: int
    """Counted from 1."""
    raw: Scores
    ema: Scores | None = None

    @property
    def reported(self) -> Scores:
        """EMA where there is one: the weights that the best epoch is chosen by."""
        return self.ema or self.raw


class Metrics(Part):
    """Scores at the last epoch and at the best, which is chosen on val; test is looked at once, at the end."""

    val_last: Evaluation
    val_best: Evaluation
    test_last: Evaluation
    test_best: Evaluation


class Failure(Part):
    """Why a run failed."""

    kind: str
    message: str
    traceback: str
    epoch: int | None = None
    step: int | None = None


class Environment(Part):
    """What the numbers came from besides the spec."""

    sasa: str
    python: str
    torch: str
    timm: str
    platform: str
    device: str
    """cpu or cuda."""
    device_name: str
    threads: int
    dtype: str
    git_commit: str | None
    """Commit of the working folder, `+changes` where files differed from it; None outside a repository."""
    code: str | None = None
    """SHA-256 over the sources that numbers come from (attention, models, data, training); None in older records."""
    kernel: str | None = None
    """Instruction set of the compiled attention kernel for the CPU; None where there is none."""
    allocator: str | None = None
    """How the C library's allocator was set; None on a GPU, and in older records."""
    backends: dict[str, str]
    """Attention backend by layer, as chosen for this run."""
    refused: dict[str, str] = {}
    """Attention backends that are preferred to the chosen ones for some layer, and why they did not run."""


class DataFingerprint(Part):
    """Which images: two runs may be compared when these are equal."""

    name: str
    sha256: str
    """Over the bytes of images and labels (or names and sizes of files) and the split."""
    train: int
    val: int
    test: int
    classes: int


class RunRecord(Part):
    """`record.json`: all that a report needs to know about a run."""

    schema_version: Literal[1] = 1
    status: Status
    run_id: str
    experiment: str
    label: str
    cell: dict[str, Any]
    cell_hash: str
    seed: int
    started: str
    """UTC, ISO 8601."""
    params: int
    macs: int
    macs_executed: int
    epochs_done: int = 0
    seconds: float = 0.0
    """Training and evaluation, over all sessions of a resumed run."""
    images_per_second: float | None = None
    """Training images over training seconds."""
    peak_memory_mib: float | None = None
    metrics: Metrics | None = None
    data: DataFingerprint | None = None
    environment: Environment | None = None
    error: Failure | None = None


@dataclass(frozen=True)
class RunPaths:
    """Every file name of a run, below `folder`."""

    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"


@dataclass(frozen=True)
class ExperimentPaths:
    """Every folder of an experiment's results, below `folder` (`results/<experiment>`)."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.runs / run_id)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents. Raises `RunError` where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot make this folder for results: {error.strerror}") from error


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends without error.

    Raises `RunError` where the disk refuses (full, read-only, no permission); `target` is then as it was.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        raise RunError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` as a whole or not at all. Raises `RunError`."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_part(file: Path, schema: type[P]) -> P | None:
    """The part stored as JSON in `file`, or None where there is no such file. Raises `RunError` where it is broken."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{file}: cannot be read: {error}") from error
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise RunError(f"{file}: broken, no valid {schema.__name__}: {where}{first['msg']}") from error


def write_part(file: Path, part: Part) -> None:
    """Store `part` as JSON. Raises `RunError`."""
    write_text(file, part.model_dump_json(indent=2) + "\n")


def write_record(paths: RunPaths, record: RunRecord) -> None:
    """Write `record.json`. Raises `RunError`."""
    write_part(paths.record, record)


def read_record(paths: RunPaths) -> RunRecord | None:
    """The record of a run, or None where there is none. Raises `RunError` where it is broken."""
    return read_part(paths.record, RunRecord)


@contextlib.contextmanager
def locked(paths: RunPaths) -> Iterator[None]:
    """Hold the run's lock; the system lets go of it when the process ends, however it ends.

    Raises `LockedError` where another process holds it.
    """
    try:
        handle = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"{paths.lock}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{paths.folder}: another process is training this run") from error
        yield
    finally:
        os.close(handle)


def is_locked(paths: RunPaths) -> bool:
    """Whether a process is training this run now."""
    if not paths.lock.exists():
        return False
    try:
        with locked(paths):
            return False
    except LockedError:
        return True
