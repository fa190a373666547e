"""`plan.json`: what a sweep set out to train, so that a report can tell what is missing. Imports no torch."""

from typing import Any, Literal

from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.record import Stored, read_stored, write_stored


class PlannedAxis(Stored):
    """One axis of the sweep: a dotted key of the experiment file and the values it takes, in the order given."""

    key: str
    values: list[Any]


class PlannedRun(Stored):
    """One run of the sweep, whether it has been trained or not."""

    run_id: str
    label: str
    cell: dict[str, Any]
    cell_hash: str
    seed: int
    params: int
    macs: int
    macs_executed: int


Expectation = Literal["higher", "within", "not lower"]


class PlannedComparison(Stored):
    """Two cells that the experiment wants compared, by label and hash, and what it expects of the first."""

    first: str
    first_hash: str
    second: str
    second_hash: str
    expect: Expectation
    margin: float = 0.0
    """In points."""


class Plan(Stored):
    """All runs of a sweep, in the order in which they are trained."""

    schema_version: Literal[1] = 1
    experiment: str
    description: str
    axes: list[PlannedAxis]
    runs: list[PlannedRun]
    reference: str | None = None
    """Hash of the cell that the others are held against; None where the experiment names none."""
    compare: tuple[PlannedComparison, ...] = ()
    """Declared before training."""
    threads: int | None = None
    """Of torch in every run whose recipe leaves them open; None in earlier plans."""


def write_plan(paths: ExperimentPaths, plan: Plan) -> None:
    """Write `plan.json`. Raises `RunError`."""
    write_stored(paths.plan, plan)


def read_plan(paths: ExperimentPaths) -> Plan | None:
    """The plan of an experiment, or None where no sweep has written one. Raises `RunError` where it is broken."""
    return read_stored(paths.plan, Plan)
