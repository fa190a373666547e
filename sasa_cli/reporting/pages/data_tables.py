"""The same numbers for programs: unrounded, one quantity to a column, written as CSV."""

from collections.abc import Sequence

from sasa_cli.rendering.numbers import data_column
from sasa_cli.rendering.table import Table
from sasa_cli.reporting.evidence.cells import HEADLINE, MEASURED, Axis, Cell, Score, has_ema, run_top1, value_text
from sasa_cli.reporting.evidence.results import Run
from sasa_cli.reporting.evidence.statistics import Measure, half_width_with_another
from sasa_cli.reporting.pages.tables import Filled, assemble


def results_data(cells: Sequence[Cell], axes: Sequence[Axis]) -> Table:
    """A row for each cell: means, half-widths of the 95 % intervals, exact counts."""
    scores = _scores([run for cell in cells for run in cell.runs])
    columns = [
        data_column("cell", [cell.label for cell in cells]),
        data_column("experiment", [cell.experiment for cell in cells]),
        data_column("cell_hash", [cell.cell_hash for cell in cells]),
        *(
            data_column(
                axis.key, [value_text(cell.values[axis.key]) if axis.key in cell.values else "" for cell in cells]
            )
            for axis in axes
        ),
        data_column("n", [len(cell.records) for cell in cells]),
        data_column("planned", [len(cell.runs) for cell in cells]),
        *(column for name, score in scores for column in _measure_columns(name, [cell.top1(score) for cell in cells])),
        data_column("test_sampling_error", [cell.sampling_error for cell in cells]),
        data_column(
            "test_top1_last_half_width_with_another_seed",
            [half_width_with_another(found) if (found := cell.top1(HEADLINE)) else None for cell in cells],
        ),
        data_column("params", [cell.params for cell in cells]),
        data_column("macs", [cell.macs for cell in cells]),
        data_column("flops", [2 * cell.macs for cell in cells]),
        data_column("flops_executed", [2 * cell.macs_executed for cell in cells]),
        *(
            column
            for name, read in MEASURED.items()
            for column in _measure_columns(name, [cell.mean(read) for cell in cells])
        ),
    ]
    return assemble("results", columns)


def runs_data(runs: Sequence[Run]) -> Table:
    """A row for each run."""
    columns = [
        data_column("run_id", [run.identity.run_id for run in runs]),
        data_column("experiment", [run.experiment for run in runs]),
        data_column("cell", [run.identity.label for run in runs]),
        data_column("seed", [run.identity.seed for run in runs]),
        data_column("status", [run.status for run in runs]),
        data_column("detail", [run.detail for run in runs]),
        data_column("epochs_done", [run.record.epochs_done if run.record else None for run in runs]),
        *(data_column(name, [run_top1(run, score) for run in runs]) for name, score in _scores(runs)),
        *(
            data_column(name, [read(run.record) if run.record else None for run in runs])
            for name, read in MEASURED.items()
        ),
    ]
    return assemble("runs", columns)


def _scores(runs: Sequence[Run]) -> list[tuple[str, Score]]:
    """`val_top1_last`, ..., `test_top1_best_ema`."""
    return [
        (f"{split}_top1_{epoch}{'_ema' if weights == 'ema' else ''}", Score(split, epoch, weights))
        for split in ("val", "test")
        for epoch in ("last", "best")
        for weights in (("raw", "ema") if has_ema(runs) else ("raw",))
    ]


def _measure_columns(name: str, measures: Sequence[Measure | None]) -> tuple[Filled, Filled]:
    return (
        data_column(f"{name}_mean", [measure.mean if measure else None for measure in measures]),
        data_column(f"{name}_half_width", [measure.half_width if measure else None for measure in measures]),
    )
