"""From runs to cells: what the seeds of each point of the sweep say together."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sasa_cli.reporting.evidence.conditions import Conditions, conditions_of, conditions_text, fields_that_differ
from sasa_cli.reporting.evidence.results import Curve, Results, Run
from sasa_cli.reporting.evidence.statistics import Measure, measure, sampling_error
from sasa_cli.runs.record import Metrics, RunRecord
from sasa_cli.spec import RunSpec

CONDITIONS = "conditions"
"""The axis of cells whose runs were trained differently; no key of an experiment file."""
AXIS_TITLES = {
    "model.stages": "Placement",
    "model.attention.spatial_extent": "Spatial extent",
    CONDITIONS: "Trained with",
}

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
    """One point of the sweep: runs that differ only in their seed, trained under the same conditions."""

    label: str
    cell_hash: str
    values: Mapping[str, Any]
    """By axis; an axis without effect here (spatial extent of a net that does not attend) is absent."""
    params: int
    macs: int
    macs_executed: int
    runs: tuple[Run, ...]
    """By seed."""
    spec: RunSpec | None = None
    """As its run folders hold it, resolved; None where none can be read."""
    split_by: tuple[str, ...] = ()
    """Conditions of training by which runs of the same spec fell apart into this cell and others."""

    @property
    def experiment(self) -> str:
        return self.runs[0].experiment

    @property
    def records(self) -> list[RunRecord]:
        """Of the runs that are done."""
        return [run.record for run in self.runs if run.status == "done" and run.record is not None]

    def top1(self, score: Score) -> Measure | None:
        """Over the runs that are done."""
        return measure([value for run in self.runs if (value := run_top1(run, score)) is not None])

    @property
    def sampling_error(self) -> float | None:
        """95 % half-width in points that the test set's size leaves a single model's accuracy; in no interval."""
        found = self.top1(HEADLINE)
        sizes = {record.data.test for record in self.records if record.data}
        return sampling_error(found.mean, min(sizes)) if found is not None and sizes else None

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
    cells = group_cells(results.runs, results.specs)
    if results.plan is None:
        keys = _keys(cells)
        cells.sort(key=lambda cell: [_natural(value_text(cell.values.get(key))) for key in keys])
    return cells


def group_cells(runs: Sequence[Run], specs: Mapping[str, RunSpec]) -> list[Cell]:
    """Runs by cell, in the order of their first; runs of one cell that were trained differently form several.

    Where any cell falls apart, what it falls apart by is one more axis of all cells.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.identity.cell_hash, []).append(run)
    parts = [(cell_hash, _alike(group)) for cell_hash, group in groups.items()]
    apart = {cell_hash: fields_that_differ(alike) for cell_hash, alike in parts}
    splitting = [field for field in Conditions._fields if any(field in fields for fields in apart.values())]
    cells = []
    for cell_hash, alike in parts:
        for conditions, group in alike.items():
            first = group[0].identity
            suffix = f" [{conditions_text(conditions, apart[cell_hash])}]" if apart[cell_hash] else ""
            trained = any(run.status == "done" for run in group)
            with_text = {CONDITIONS: conditions_text(conditions, splitting)} if splitting and trained else {}
            cells.append(
                Cell(
                    label=first.label + suffix,
                    cell_hash=cell_hash,
                    values=first.cell | with_text,
                    params=first.params,
                    macs=first.macs,
                    macs_executed=first.macs_executed,
                    runs=tuple(sorted(group, key=lambda run: run.identity.seed)),
                    spec=specs.get(cell_hash),
                    split_by=apart[cell_hash],
                )
            )
    return _told_apart(cells)


def _alike(runs: Sequence[Run]) -> dict[Conditions | None, list[Run]]:
    """Runs by the conditions that they were trained under; those that have not finished go to the largest group."""
    groups: dict[Conditions | None, list[Run]] = {}
    for run in runs:
        if run.status == "done" and run.record is not None:
            groups.setdefault(conditions_of(run.record), []).append(run)
    if not groups:
        return {None: list(runs)}
    largest = max(groups.values(), key=len)
    largest += [run for run in runs if run.status != "done"]
    return groups


def _told_apart(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of one label get their experiment's name added, or their hash within one experiment."""
    by_label: dict[str, list[Cell]] = {}
    for cell in cells:
        by_label.setdefault(cell.label, []).append(cell)
    named = []
    for cell in cells:
        alike = by_label[cell.label]
        experiments = {other.experiment for other in alike}
        addition = cell.experiment if len(experiments) == len(alike) else cell.cell_hash
        named.append(cell if len(alike) == 1 else replace(cell, label=f"{cell.label} ({addition})"))
    return named


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
    metrics = run.record.metrics if run.status == "done" and run.record else None
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
