"""`record.json`: what is kept of a run, as plain data, so that reports need no torch.

Run folders are the truth: whatever else is shown about an experiment is derived from them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from sasa_cli.errors import BrokenFileError, RunError, printable
from sasa_cli.runs.files import write_text
from sasa_cli.runs.paths import RunPaths

SCHEMA_VERSION = 1
RecordedStatus = Literal["running", "done", "failed", "interrupted"]


class Stored(BaseModel):
    """Base of all parts of a record: immutable and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Printable = Annotated[str, BeforeValidator(printable)]  # a message may name a file whose name is no Unicode
P = TypeVar("P", bound=Stored)


class Scores(Stored):
    """One evaluation of one set of weights on one split."""

    loss: float
    top1: float
    """Per cent of images whose class is ranked first."""
    top5: float


class Evaluation(Stored):
    """The scores after one epoch, of the trained weights and of their moving average (absent without EMA)."""

    epoch: int
    """Counted from 1."""
    raw: Scores
    ema: Scores | None = None

    @property
    def reported(self) -> Scores:
        """EMA where there is one: the weights that the best epoch is chosen by."""
        return self.ema or self.raw


class Metrics(Stored):
    """Scores at the last epoch and at the best, which is chosen on val; test is looked at once, at the end."""

    val_last: Evaluation
    val_best: Evaluation
    test_last: Evaluation
    test_best: Evaluation


class Failure(Stored):
    """Why a run failed."""

    kind: str
    message: Printable
    traceback: Printable
    epoch: int | None = None
    step: int | None = None


class Environment(Stored):
    """What the numbers came from besides the spec."""

    sasa: str
    python: str
    torch: str
    timm: str
    platform: str
    device: str
    """As `--device` calls it."""
    device_name: str
    threads: int
    dtype: str
    git_commit: str | None
    """Commit of the working folder, `+changes` where files differed from it; None outside a repository."""
    code: str | None = None
    """SHA-256 over what the sources of training compute (`training/code.py`); None in older records."""
    kernel: str | None = None
    """Instruction set of the compiled attention kernel for the CPU; None where there is none."""
    allocator: str | None = None
    """How the C library's allocator was set; None on a GPU, and in older records."""
    backends: dict[str, str]
    """Attention backend by layer, as chosen for this run."""
    libraries: dict[str, str] = {}
    """Versions of what reads and changes images (numpy, Pillow, torchvision); none in older records."""
    refused: dict[str, str] = {}
    """Attention backends that are preferred to the chosen ones for some layer, and why they did not run."""

    def differences(self, other: "Environment") -> list[str]:
        """The fields in which `other` may have given other numbers: `torch 2.11.0 instead of 2.10.0`."""
        names = [name for name in DECISIVE if getattr(self, name) != getattr(other, name)]
        if self.device != "cpu" and "threads" in names:
            names.remove("threads")
        return [f"{name} {getattr(other, name)} instead of {getattr(self, name)}" for name in names]


DECISIVE = (
    "device",
    "device_name",
    "threads",
    "dtype",
    "sasa",
    "torch",
    "timm",
    "code",
    "kernel",
    "backends",
    "libraries",
)
"""What of an environment may change numbers; threads do so on the CPU alone."""


class DataFingerprint(Stored):
    """Which images: two runs may be compared when these are equal."""

    name: str
    sha256: str
    """Over the bytes of images (of files: their names and contents), labels and the split."""
    train: int
    val: int
    test: int
    classes: int
    mean: tuple[float, float, float] | None = None
    """What pixels in [0, 1] were normalised with, by channel: minus `mean`, over `std`. Older records have neither."""
    std: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()
    """What is unusual about them: fewer than published, files that were left out."""


class Sitting(Stored):
    """A part of a run that was trained at one go."""

    until_epoch: int
    """The last that it finished."""
    environment: Environment


class Origin(Stored):
    """What the weights of a checkpoint came from; lies in the checkpoint, so that no record is needed to know."""

    data: DataFingerprint
    environment: Environment
    """Of the last sitting."""
    earlier_sittings: tuple[Sitting, ...] = ()


class RunRecord(Stored):
    """`record.json`: all that a report needs to know about a run."""

    schema_version: Literal[1] = 1
    status: RecordedStatus
    """What the run last said of itself; `state_of` says how far it is."""
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
    """Of the last sitting."""
    earlier_sittings: tuple[Sitting, ...] = ()
    """Those under other conditions than the one that followed; none where the whole run was trained under one."""
    error: Failure | None = None


def read_stored(file: Path, schema: type[P]) -> P | None:
    """The part stored as JSON in `file`, or None where there is no such file.

    Raises:
        BrokenFileError: It was read, and is no such part.
        RunError: It cannot be read, or was written by a later version of this package.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{file}: broken: {error}") from error
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from error
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors()
        unknown = [".".join(map(str, problem["loc"])) for problem in problems if _is_later(problem)]
        if len(unknown) == len(problems):
            raise RunError(
                f"{file}: written by a later version of sasa (this one does not know {unknown[0]}), and left as it is"
            ) from error
        first = problems[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise BrokenFileError(f"{file}: broken, no valid {schema.__name__}: {where}{first['msg']}") from error


def _is_later(problem: ErrorDetails) -> bool:
    """Whether all that is wrong is a key that is unknown here, or a schema version above ours."""
    version = problem["input"] if problem["loc"] == ("schema_version",) else None
    return problem["type"] == "extra_forbidden" or (isinstance(version, int) and version > SCHEMA_VERSION)


def write_stored(file: Path, stored: Stored) -> None:
    """Store `stored` as JSON. Raises `RunError`."""
    write_text(file, stored.model_dump_json(indent=2) + "\n")


def write_record(paths: RunPaths, record: RunRecord) -> None:
    """Write `record.json`. Raises `RunError`."""
    write_stored(paths.record, record)


def read_record(paths: RunPaths) -> RunRecord | None:
    """The record of a run, or None where there is none. Raises `RunError` where it is broken."""
    return read_stored(paths.record, RunRecord)
