"""The tables that readers see: accuracies and costs by cell, runs by seed, each row leading to its run folders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from sasa_cli.rendering.document import Link, LinkedTable
from sasa_cli.rendering.numbers import ABSENT, TIME_UNITS, headed, in_unit, percent
from sasa_cli.rendering.table import Column, Table
from sasa_cli.reporting.evidence.cells import HEADLINE, MEASURED, Axis, Cell, Score, has_ema, run_top1, value_text
from sasa_cli.reporting.evidence.conditions import counted, environment_values
from sasa_cli.reporting.evidence.results import Run
from sasa_cli.reporting.evidence.statistics import clear_best
from sasa_cli.reporting.pages.intervals import interval

Filled = tuple[Column, Sequence[str]]
Where = tuple[Literal["val", "test"], Literal["last", "best"]]
Weights = Literal["raw", "ema"]

SHOWN_SCORES: tuple[tuple[str, Where], ...] = (
    ("Test, last epoch", ("test", "last")),
    ("Test, best epoch", ("test", "best")),
    ("Val, best epoch", ("val", "best")),
)
WEIGHTS: tuple[tuple[str, Weights], ...] = (("raw", "raw"), ("EMA", "ema"))


def assemble(title: str, columns: Iterable[Filled], notes: Sequence[str] = ()) -> Table:
    """A table from its columns, each with its cells."""
    filled = list(columns)
    rows = zip(*(texts for _, texts in filled), strict=True)
    return Table(title, tuple(column for column, _ in filled), tuple(rows), tuple(notes))


def results_table(cells: Sequence[Cell], axes: Sequence[Axis], title: str) -> LinkedTable:
    """A row for each cell: its place in the sweep, its accuracies and its size; the clear best of a column is bold."""
    scores = _score_columns([run for cell in cells for run in cell.runs])
    columns = [
        (Column("Cell", "left"), [cell.label for cell in cells]),
        *(_axis_column(cells, axis) for axis in axes),
        _count_column(cells),
        *((Column(header), [interval(cell.top1(score)) for cell in cells]) for header, score in scores),
        (Column("Test set ±"), [percent(cell.sampling_error) for cell in cells]),
        *_size_columns(cells),
        *_not_done_column(cells),
        _seeds_column(cells),
    ]
    first = len(axes) + 2
    best = [clear_best([cell.top1(score) for cell in cells]) for _, score in scores]
    strong = frozenset((row, first + index) for index, row in enumerate(best) if row is not None)
    return LinkedTable(assemble(title, columns), _seed_links(cells, len(columns) - 1), strong)


def cost_table(cells: Sequence[Cell], title: str) -> LinkedTable:
    """A row for each cell: exact counts, and what its runs took on average."""
    seconds, speed, memory = ([_mean(cell, name) for cell in cells] for name in MEASURED)
    columns = [
        (Column("Cell", "left"), [cell.label for cell in cells]),
        *_size_columns(cells),
        _scaled("FLOPs executed", in_unit([2 * cell.macs_executed for cell in cells])),
        _scaled("Time per run", in_unit(seconds, TIME_UNITS, most_decimals=1)),
        _scaled("Images/s", in_unit(speed, [(1, "")])),
        _scaled("Peak memory", in_unit(memory, [(1, "MiB")])),
        _seeds_column(cells),
    ]
    return LinkedTable(assemble(title, columns), _seed_links(cells, len(columns) - 1))


def runs_table(runs: Sequence[Run], title: str) -> LinkedTable:
    """A row for each run, finished or not, that leads to its folder."""
    seconds = [run.record.seconds if run.record else None for run in runs]
    columns: list[Filled] = [
        (Column("Run", "left"), [run.identity.run_id for run in runs]),
        (Column("Cell", "left"), [run.identity.label for run in runs]),
        (Column("Seed"), [str(run.identity.seed) for run in runs]),
        (Column("Status", "left"), [run.status for run in runs]),
        (Column("Epochs"), [str(run.record.epochs_done) if run.record else ABSENT for run in runs]),
        *((Column(header), [percent(run_top1(run, score)) for run in runs]) for header, score in _score_columns(runs)),
        (Column("Best epoch"), [_best_epoch(run) for run in runs]),
        _scaled("Time", in_unit(seconds, TIME_UNITS, most_decimals=1)),
    ]
    return LinkedTable(assemble(title, columns), _run_links(runs))


def unfinished_table(runs: Sequence[Run], title: str) -> LinkedTable:
    """The runs without final numbers, and why there are none."""
    waiting = [run for run in runs if run.status != "done"]
    columns: list[Filled] = [
        (Column("Run", "left"), [run.identity.run_id for run in waiting]),
        (Column("Status", "left"), [run.status for run in waiting]),
        (Column("What is known", "left"), [run.detail for run in waiting]),
    ]
    return LinkedTable(assemble(title, columns), _run_links(waiting))


def environment_table(runs: Sequence[Run], title: str) -> LinkedTable:
    """What the numbers came from; where a field has several values, each with the number of runs that have it."""
    fields = environment_values(runs)
    texts = list(map(counted, fields.values()))
    columns = [(Column("Field", "left"), list(fields)), (Column("Value", "left"), texts)]
    return LinkedTable(assemble(title, columns))


def summary_table(name: str, cells: Sequence[Cell], notes: Sequence[str]) -> Table:
    """For the terminal: what fits its width of an experiment's results."""
    columns = [
        (Column("Cell", "left"), [cell.label for cell in cells]),
        _count_column(cells),
        (Column("Test, last epoch"), [interval(cell.top1(HEADLINE)) for cell in cells]),
        (Column("Test, best epoch"), [interval(cell.top1(Score("test", "best"))) for cell in cells]),
        *_size_columns(cells),
        *_not_done_column(cells),
    ]
    return assemble(f"{name}: top-1 accuracy (%), mean ± 95 % interval over seeds", columns, notes)


def without_links(linked: LinkedTable) -> Table:
    """The table for paper: without the columns that are there to lead to run folders."""
    leading = {column for _, column in linked.links}
    kept = [index for index in range(len(linked.table.columns)) if index not in leading]
    return Table(
        linked.table.title,
        tuple(linked.table.columns[index] for index in kept),
        tuple(tuple(row[index] for index in kept) for row in linked.table.rows),
    )


def _axis_column(cells: Sequence[Cell], axis: Axis) -> Filled:
    texts = [value_text(cell.values[axis.key]) if axis.key in cell.values else ABSENT for cell in cells]
    return Column(axis.title, "right" if axis.numeric else "left"), texts


def _count_column(cells: Sequence[Cell]) -> Filled:
    return Column("n"), [f"{len(cell.records)}/{len(cell.runs)}" for cell in cells]


def _score_columns(runs: Sequence[Run]) -> list[tuple[str, Score]]:
    """Trained weights and their moving average apart, where any run has one."""
    if not has_ema(runs):
        return [(title, Score(*where, "raw")) for title, where in SHOWN_SCORES]
    return [(f"{title} ({name})", Score(*where, weights)) for title, where in SHOWN_SCORES for name, weights in WEIGHTS]


def _size_columns(cells: Sequence[Cell]) -> list[Filled]:
    return [
        _scaled("Parameters", in_unit([cell.params for cell in cells])),
        _scaled("FLOPs", in_unit([2 * cell.macs for cell in cells])),
    ]


def _scaled(name: str, column: tuple[str, Sequence[str]]) -> Filled:
    unit, texts = column
    return Column(headed(name, unit)), texts


def _not_done_column(cells: Sequence[Cell]) -> list[Filled]:
    """`1 failed, 1 missing`; no column where everything is done."""
    counts = [Counter(run.status for run in cell.runs if run.status != "done") for cell in cells]
    texts = [", ".join(f"{count} {state}" for state, count in sorted(states.items())) for states in counts]
    return [(Column("Not done", "left"), [text or ABSENT for text in texts])] if any(texts) else []


def _seeds_column(cells: Sequence[Cell]) -> Filled:
    return Column("Seeds", "left"), [", ".join(_seeds(cell)) or ABSENT for cell in cells]


def _seeds(cell: Cell) -> list[str]:
    return [str(run.identity.seed) for run in cell.runs if run.status == "done"]


def _seed_links(cells: Sequence[Cell], column: int) -> dict[tuple[int, int], tuple[Link, ...]]:
    return {
        (row, column): tuple(
            Link(str(run.identity.seed), run.url) for run in cell.runs if run.status == "done" and run.url
        )
        for row, cell in enumerate(cells)
        if cell.records
    }


def _run_links(runs: Sequence[Run]) -> dict[tuple[int, int], tuple[Link, ...]]:
    return {(row, 0): (Link(run.identity.run_id, run.url),) for row, run in enumerate(runs) if run.url}


def _mean(cell: Cell, name: str) -> float | None:
    measure = cell.mean(MEASURED[name])
    return None if measure is None else measure.mean


def _best_epoch(run: Run) -> str:
    return str(run.record.metrics.val_best.epoch) if run.record and run.record.metrics else ABSENT
