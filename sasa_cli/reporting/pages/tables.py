"""The tables that readers see: accuracies and costs by cell, runs by seed, each row leading to its run folders."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sasa_cli.rendering.numbers import TIME_UNITS, headed, in_unit, percent, whole
from sasa_cli.rendering.table import (
    ABSENT,
    Column,
    Entry,
    Filled,
    Link,
    Links,
    Number,
    Strong,
    Table,
    assemble,
    for_programs,
)
from sasa_cli.reporting.evidence.cells import HEADLINE, MEASURED, Axis, Cell, Score, has_ema, run_top1, value_text
from sasa_cli.reporting.evidence.conditions import environment_values
from sasa_cli.reporting.evidence.results import Run
from sasa_cli.reporting.evidence.statistics import clear_best, half_width_with_another
from sasa_cli.reporting.pages.caveats import counted
from sasa_cli.reporting.pages.intervals import interval, interval_names

Where = tuple[Literal["val", "test"], Literal["last", "best"]]
Weights = Literal["raw", "ema"]

SHOWN_SCORES: tuple[tuple[str, Where], ...] = (
    ("Test, last epoch", ("test", "last")),
    ("Test, best epoch", ("test", "best")),
    ("Val, best epoch", ("val", "best")),
)
WEIGHTS: tuple[tuple[str, Weights], ...] = (("raw", "raw"), ("EMA", "ema"))


def results_table(cells: Sequence[Cell], axes: Sequence[Axis], title: str) -> Table:
    """A row for each cell: its place in the sweep, its accuracies and its size; a clear best is strong."""
    runs = [run for cell in cells for run in cell.runs]
    columns = [
        *_name_columns(cells),
        *(_axis_column(cells, axis) for axis in axes),
        *_count_columns(cells),
        *(_score_column(cells, header, score) for header, score in _score_columns(runs)),
        *(_score_column(cells, "", score) for score in _unseen_scores(runs)),
        (Column("Test set ±", names=("test_sampling_error",)), [percent(cell.sampling_error) for cell in cells]),
        for_programs("test_top1_last_half_width_with_another_seed", list(map(_with_another_seed, cells))),
        *_size_columns(cells),
        for_programs("macs", [cell.macs for cell in cells]),
        *_not_done_column(cells),
        _seeds_column(cells),
    ]
    return assemble(title, columns)


def cost_table(cells: Sequence[Cell], title: str) -> Table:
    """A row for each cell: exact counts, and what its runs took on average."""
    columns = [
        *_name_columns(cells),
        *_size_columns(cells),
        _scaled("FLOPs executed", "flops_executed", in_unit([2 * cell.macs_executed for cell in cells])),
        *_measured_columns(cells, "Time per run", "seconds", TIME_UNITS),
        *_measured_columns(cells, "Images/s", "images_per_second", [(1, "")]),
        *_measured_columns(cells, "Peak memory", "peak_memory_mib", [(1, "MiB")]),
        _seeds_column(cells),
    ]
    return assemble(title, columns)


def runs_table(runs: Sequence[Run], title: str) -> Table:
    """A row for each run, finished or not, that leads to its folder."""
    seconds = [run.record.seconds if run.record else None for run in runs]
    columns: list[Filled] = [
        _run_column(runs),
        (Column("Cell", "left"), [run.identity.label for run in runs]),
        (Column("Seed"), [whole(run.identity.seed) for run in runs]),
        (Column("Status", "left"), [run.status for run in runs]),
        (Column("Epochs"), [whole(run.record.epochs_done if run.record else None) for run in runs]),
        *((Column(header), [percent(run_top1(run, score)) for run in runs]) for header, score in _score_columns(runs)),
        (Column("Best epoch"), [whole(_best_epoch(run)) for run in runs]),
        _scaled("Time", "seconds", in_unit(seconds, TIME_UNITS, most_decimals=1)),
    ]
    return assemble(title, columns)


def unfinished_table(runs: Sequence[Run], title: str) -> Table:
    """The runs without final numbers, and why there are none."""
    waiting = [run for run in runs if run.status != "done"]
    columns: list[Filled] = [
        _run_column(waiting),
        (Column("Status", "left"), [run.status for run in waiting]),
        (Column("What is known", "left"), [run.detail for run in waiting]),
    ]
    return assemble(title, columns)


def environment_table(runs: Sequence[Run], title: str) -> Table:
    """What the numbers came from; where a field has several values, each with the number of runs that have it."""
    fields = environment_values(runs)
    texts = list(map(counted, fields.values()))
    return assemble(title, [(Column("Field", "left"), list(fields)), (Column("Value", "left"), texts)])


def summary_table(name: str, cells: Sequence[Cell], notes: Sequence[str]) -> Table:
    """For the terminal: what fits its width of an experiment's results."""
    columns = [
        (Column("Cell", "left"), [cell.label for cell in cells]),
        *_count_columns(cells),
        _score_column(cells, "Test, last epoch", HEADLINE),
        _score_column(cells, "Test, best epoch", Score("test", "best")),
        *_size_columns(cells),
        *_not_done_column(cells),
    ]
    return assemble(f"{name}: top-1 accuracy (%), mean ± 95 % interval over seeds", columns, notes)


def _name_columns(cells: Sequence[Cell]) -> list[Filled]:
    return [
        (Column("Cell", "left", names=("cell",)), [cell.label for cell in cells]),
        for_programs("experiment", [cell.experiment for cell in cells]),
        for_programs("cell_hash", [cell.cell_hash for cell in cells]),
    ]


def _axis_column(cells: Sequence[Cell], axis: Axis) -> Filled:
    texts = [value_text(cell.values[axis.key]) if axis.key in cell.values else None for cell in cells]
    entries: list[Entry] = [Number(None, ABSENT) if text is None else text for text in texts]
    return Column(axis.title, "right" if axis.numeric else "left", names=(axis.key,)), entries


def _count_columns(cells: Sequence[Cell]) -> list[Filled]:
    """How many of the planned runs of each cell are done."""
    return [
        (Column("n", names=()), [f"{len(cell.records)}/{len(cell.runs)}" for cell in cells]),
        for_programs("n", [len(cell.records) for cell in cells]),
        for_programs("planned", [len(cell.runs) for cell in cells]),
    ]


def _score_column(cells: Sequence[Cell], header: str, score: Score) -> Filled:
    measures = [cell.top1(score) for cell in cells]
    best = clear_best(measures)
    entries = [interval(measure) for measure in measures]
    marked = [Strong(entry) if row == best else entry for row, entry in enumerate(entries)]
    return Column(header, names=interval_names(_score_name(score))), marked


def _score_name(score: Score) -> str:
    return f"{score.split}_top1_{score.epoch}{'_ema' if score.weights == 'ema' else ''}"


def _unseen_scores(runs: Sequence[Run]) -> list[Score]:
    """For programs: val at the last epoch, on which nothing rests."""
    return [Score("val", "last", weights) for weights in (("raw", "ema") if has_ema(runs) else ("raw",))]


def _with_another_seed(cell: Cell) -> float | None:
    found = cell.top1(HEADLINE)
    return half_width_with_another(found) if found else None


def _score_columns(runs: Sequence[Run]) -> list[tuple[str, Score]]:
    """Trained weights and their moving average apart, where any run has one."""
    if not has_ema(runs):
        return [(title, Score(*where, "raw")) for title, where in SHOWN_SCORES]
    return [(f"{title} ({name})", Score(*where, weights)) for title, where in SHOWN_SCORES for name, weights in WEIGHTS]


def _size_columns(cells: Sequence[Cell]) -> list[Filled]:
    return [
        _scaled("Parameters", "params", in_unit([cell.params for cell in cells])),
        _scaled("FLOPs", "flops", in_unit([2 * cell.macs for cell in cells])),
    ]


def _measured_columns(
    cells: Sequence[Cell], header: str, name: str, units: Sequence[tuple[float, str]]
) -> list[Filled]:
    measures = [cell.mean(MEASURED[name]) for cell in cells]
    decimals = 1 if units is TIME_UNITS else 4
    means = in_unit([found.mean if found else None for found in measures], units, most_decimals=decimals)
    mean_name, half_width_name = interval_names(name)
    return [
        _scaled(header, mean_name, means),
        for_programs(half_width_name, [found.half_width if found else None for found in measures]),
    ]


def _scaled(header: str, name: str, column: tuple[str, Sequence[Number]]) -> Filled:
    unit, entries = column
    return Column(headed(header, unit), names=(name,)), entries


def _not_done_column(cells: Sequence[Cell]) -> list[Filled]:
    """`1 failed, 1 missing`; no column where everything is done."""
    counts = [Counter(run.status for run in cell.runs if run.status != "done") for cell in cells]
    texts = [", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) for statuses in counts]
    return [(Column("Not done", "left", names=()), [text or ABSENT for text in texts])] if any(texts) else []


def _seeds_column(cells: Sequence[Cell]) -> Filled:
    """Each finished seed, which leads to its run."""
    links = [
        Links(tuple(Link(str(run.identity.seed), run.url) for run in cell.runs if run.status == "done" and run.url))
        for cell in cells
    ]
    return Column("Seeds", "left", leads=True, names=()), [each if each.items else ABSENT for each in links]


def _run_column(runs: Sequence[Run]) -> Filled:
    entries: list[Entry] = [
        Links((Link(run.identity.run_id, run.url),)) if run.url else run.identity.run_id for run in runs
    ]
    return Column("Run", "left"), entries


def _best_epoch(run: Run) -> int | None:
    return run.record.metrics.val_best.epoch if run.record and run.record.metrics else None
