"""From runs to cells: what the seeds of each point of the sweep say together."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sasa_cli.record import Environment, Metrics, RunRecord
from sasa_cli.reporting.results import Curve, Results, Run
from sasa_cli.reporting.statistics import Measure, measure

AXIS_TITLES = {"model.stages": "Placement", "model.attention.spatial_extent": "Spatial extent"}

ENVIRONMENT_FIELDS: dict[str, Callable[[Environment], str]] = {
    "device": lambda environment: environment.device,
    "device name": lambda environment: environment.device_name,
    "threads": lambda environment: str(environment.threads),
    "attention kernel": lambda environment: environment.kernel or "none",
    "sasa": lambda environment: environment.sasa,
    "torch": lambda environment: environment.torch,
    "timm": lambda environment: environment.timm,
    "python": lambda environment: environment.python,
    "platform": lambda environment: environment.platform,
    "git commit": lambda environment: environment.git_commit or "none",
}
NUMBERS_DEPEND_ON = ("device", "threads", "attention kernel", "sasa", "torch", "timm", "git commit")
"""Fields that must agree before runs are compared without a warning; the data fingerprint must, too."""

MEASURED: dict[str, Callable[[RunRecord], float | None]] = {
    "seconds": lambda record: record.seconds,
    "images_per_second": lambda record: record.images_per_second,
    "peak_memory_mib": lambda record: record.peak_memory_mib,
}


@dataclass(frozen=True)
class Score:
    """Which of a run's recorded accuracies is meant."""

    split: Literal["val", "test"]
    epoch: Literal["last", "best"]
    weights: Literal["raw", "ema", "reported"] = "reported"
    """reported: the moving average where the run has one, else the trained weights."""

    def top1(self, metrics: Metrics) -> float | None:
        """Per cent; None where the run has no moving average but it was asked for."""
        evaluation = {
            ("val", "last"): metrics.val_last,
            ("val", "best"): metrics.val_best,
            ("test", "last"): metrics.test_last,
            ("test", "best"): metrics.test_best,
        }[self.split, self.epoch]
        scores = {"raw": evaluation.raw, "ema": evaluation.ema, "reported": evaluation.reported}[self.weights]
        return None if scores is None else scores.top1


HEADLINE = Score("test", "last")
"""What figures show and cells are compared by: nothing was selected to get it."""


@dataclass(frozen=True)
class Axis:
    """A key of the experiment file that differs between cells."""

    key: str
    title: str
    values: tuple[Any, ...]

    @property
    def slug(self) -> str:
        """The title as part of a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower())

    @property
    def numeric(self) -> bool:
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


@dataclass(frozen=True)
class Cell:
    """One point of the sweep: runs that differ only in their seed."""

    label: str
    cell_hash: str
    values: Mapping[str, Any]
    """By axis; an axis without effect here (spatial extent of a net that does not attend) is absent."""
    params: int
    macs: int
    macs_executed: int
    runs: tuple[Run, ...]
    """By seed."""

    @property
    def records(self) -> list[RunRecord]:
        """Of the runs that are done."""
        return [run.record for run in self.runs if run.state == "done" and run.record is not None]

    def top1(self, score: Score) -> Measure | None:
        """Over the runs that are done."""
        return measure([value for run in self.runs if (value := run_top1(run, score)) is not None])

    def mean(self, quantity: Callable[[RunRecord], float | None]) -> Measure | None:
        """Of any quantity that a record holds, over the runs that are done and have it."""
        return measure([value for value in map(quantity, self.records) if value is not None])

    def curve(self) -> Curve:
        """Val top-1 by epoch, the mean over seeds of the epochs that all of them have."""
        curves = [dict(run.curve) for run in self.runs if run.curve]
        shared = set.intersection(*map(set, curves)) if curves else set()
        return tuple((epoch, sum(curve[epoch] for curve in curves) / len(curves)) for epoch in sorted(shared))


def cells_of(results: Results) -> list[Cell]:
    """The cells of an experiment in the plan's order; without a plan, by the values of their axes."""
    groups: dict[str, list[Run]] = {}
    for run in results.runs:
        groups.setdefault(run.identity.cell_hash, []).append(run)
    labels = [runs[0].identity.label for runs in groups.values()]
    cells = []
    for cell_hash, runs in groups.items():
        first = runs[0].identity
        cells.append(
            Cell(
                label=first.label if labels.count(first.label) == 1 else f"{first.label} ({cell_hash})",
                cell_hash=cell_hash,
                values=first.cell,
                params=first.params,
                macs=first.macs,
                macs_executed=first.macs_executed,
                runs=tuple(sorted(runs, key=lambda run: run.identity.seed)),
            )
        )
    if results.plan is None:
        keys = _keys(cells)
        cells.sort(key=lambda cell: [_natural(value_text(cell.values.get(key))) for key in keys])
    return cells


def axes_of(results: Results, cells: Sequence[Cell]) -> list[Axis]:
    """The keys in which the cells differ, each with the values that occur, in the plan's order."""
    planned = {axis.key: axis.values for axis in results.plan.axes} if results.plan else {}
    keys = list(dict.fromkeys([*planned, *_keys(cells)]))
    axes = []
    for key in keys:
        found = [cell.values[key] for cell in cells if key in cell.values]
        values = _distinct(value for value in [*planned.get(key, ()), *found] if value in found)
        if len(values) > 1:
            axes.append(Axis(key, _title(key, keys), values))
    return axes


def run_top1(run: Run, score: Score) -> float | None:
    """Per cent; None where the run has not finished, or has no such weights."""
    metrics = run.record.metrics if run.state == "done" and run.record else None
    return None if metrics is None else score.top1(metrics)


def has_ema(runs: Iterable[Run]) -> bool:
    """Whether any finished run kept a moving average of its weights."""
    return any(run_top1(run, Score("test", "last", "ema")) is not None for run in runs)


def value_text(value: Any) -> str:
    """A value of an axis as it is read: `7`, `CCAA`, `3, 3, 7, 7`, `kind attention, values conv`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def environment_values(runs: Iterable[Run]) -> dict[str, dict[str, int]]:
    """By field of the environment and of the data: each value that occurs and in how many finished runs."""
    fields: dict[str, dict[str, int]] = {}
    for run in runs:
        if run.state != "done" or run.record is None:
            continue
        values: dict[str, str] = {}
        environment, data = run.record.environment, run.record.data
        if environment is not None:
            values |= {field: read(environment) for field, read in ENVIRONMENT_FIELDS.items()}
        if data is not None:
            values["data"] = f"{data.name}, {data.train:,} train, {data.val:,} val, {data.test:,} test images"
            values["data fingerprint"] = data.sha256[:16]
        for field, value in values.items():
            counts = fields.setdefault(field, {})
            counts[value] = counts.get(value, 0) + 1
    return fields


def counted(values: Mapping[str, int]) -> str:
    """`2.14.0 (1 run), 2.15.0 (14 runs)`; a value that all have stands alone."""
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({count} run{'' if count == 1 else 's'})" for value, count in sorted(values.items()))


def differences(runs: Iterable[Run]) -> list[str]:
    """What differs between finished runs although their numbers depend on it, one sentence for each field."""
    fields = environment_values(runs)
    return [
        f"Runs differ in {field}: {counted(values)}."
        for field, values in fields.items()
        if field in (*NUMBERS_DEPEND_ON, "data fingerprint") and len(values) > 1
    ]


def _keys(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(key for cell in cells for key in cell.values))


def _title(key: str, keys: Sequence[str]) -> str:
    """The last part of a dotted key in words, with the part before it where another key ends alike."""
    if key in AXIS_TITLES:
        return AXIS_TITLES[key]
    last = key.rpartition(".")[2]
    alike = [other for other in keys if other.rpartition(".")[2] == last]
    words = last if len(alike) == 1 else " ".join(key.split(".")[-2:])
    return words.replace("_", " ").capitalize()


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """Each value once, in order; lists and mappings are not hashable."""
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return tuple(distinct)


def _natural(text: str) -> list[tuple[int, float, str]]:
    """So that 11 comes after 3."""
    parts = re.findall(r"\d+(?:\.\d+)?|[^\d]+", text)
    return [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in parts]
