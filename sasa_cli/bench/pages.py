"""A bench result as tables, a figure and files."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sasa_cli.bench.checks import Check
from sasa_cli.bench.goals import goal_table, goals
from sasa_cli.bench.preferences import contradiction_table, contradictions
from sasa_cli.bench.result import BenchResult, Row, sizes
from sasa_cli.rendering.drawing import COLOURS, DASHES, MARKERS, grid_canvas, to_png, to_svg
from sasa_cli.rendering.markdown import to_markdown
from sasa_cli.rendering.table import Column, Filled, Number, Table, assemble
from sasa_cli.runs.files import atomic_path, make_folder, write_text

CONVOLUTION = "conv3x3"
DRAWN = ("auto", "unfold", "timm-halo", CONVOLUTION)
LABELS = {
    "auto": "attention (ours)",
    "unfold": "attention (unfold)",
    "timm-halo": "HaloAttn",
    CONVOLUTION: "3 x 3 convolution",
}


def tables_of(result: BenchResult) -> list[Table]:
    """Checks, times of layers, training steps, goals, contradicted preferences, and what failed, as far as there is."""
    found, contradicted = goals(result), contradictions(result)
    return [
        *([check_table(result.checks)] if result.checks else []),
        *([layer_table(result)] if result.rows else []),
        *([model_table(result)] if result.models else []),
        *([goal_table(found)] if found else []),
        *([contradiction_table(contradicted)] if contradicted else []),
        *([failure_table(result)] if result.failures else []),
    ]


def check_table(checks: Sequence[Check]) -> Table:
    """A row for each backend and dtype."""
    columns = (
        *(Column("backend", "left"), Column("dtype", "left"), Column("passed"), Column("largest error")),
        *(Column("tolerance"), Column("same bits twice")),
    )
    rows = []
    for backend, dtype in dict.fromkeys((check.backend, check.dtype) for check in checks):
        same = [check for check in checks if (check.backend, check.dtype) == (backend, dtype)]
        errors = [check.error for check in same if check.error is not None]
        rows.append(
            (
                *(backend, dtype, f"{sum(check.passed for check in same)} of {len(same)}"),
                *(f"{max(errors):.1e}" if errors else "", f"{same[0].tolerance:.1e}"),
                f"{sum(check.repeats for check in same)} of {len(same)}",
            )
        )
    return Table("Against the reference in float64, output and all gradients", columns, tuple(rows))


def layer_table(result: BenchResult) -> Table:
    """One row for each contestant, layer and k, with its times as multiples of the convolution's."""
    rows = result.rows
    peaks = [_number(row.peak_extra_mib, 0) for row in rows]
    columns: list[Filled] = [
        (Column("B x C x H x W", "left"), [sizes(row.shape) for row in rows]),
        (Column("k"), [str(row.spatial_extent) for row in rows]),
        *_kind_columns(rows),
        (Column("what", "left"), [_what(row) for row in rows]),
        *_time_columns(rows, [_convolution_of(row, rows) for row in rows], "x conv3x3", 1),
        (Column("extra MiB"), peaks),
    ]
    return assemble("Forward and backward of one layer", columns, _notes(result))


def model_table(result: BenchResult) -> Table:
    """Whole training steps, with their time as a multiple of the convolutional net's."""
    rows = result.models
    convolutions = [next(other for other in rows if (other.mode, other.dtype) == (row.mode, row.dtype)) for row in rows]
    columns: list[Filled] = [
        (Column("training step", "left"), [row.name for row in rows]),
        *_kind_columns(rows),
        *_time_columns(rows, convolutions, "x conv", 0),
    ]
    batch, _, height, width = rows[0].shape
    return assemble(f"A training step on {batch} images of {height} x {width} px", columns)


def failure_table(result: BenchResult) -> Table:
    """A row for each check that did not pass and each contestant without numbers."""
    rows = tuple(tuple(line.split(": ", 2)) for line in result.failures)
    return Table("Failures", (Column("what", "left"), Column("where", "left"), Column("why", "left")), rows)


def _what(row: Row) -> str:
    return f"{row.name} ({row.backend})" if row.backend and row.name.startswith("auto") else row.name


def _kind_columns(rows: Sequence[Row]) -> list[Filled]:
    """Number format and mode, where they are not those of all."""
    columns: list[Filled] = []
    if {row.dtype for row in rows} != {"float32"}:
        columns.append((Column("dtype", "left"), [row.dtype for row in rows]))
    if {row.mode for row in rows} != {"eager"}:
        columns.append((Column("mode", "left"), [row.mode for row in rows]))
    return columns


def _time_columns(rows: Sequence[Row], others: Sequence[Row], header: str, decimals: int) -> list[Filled]:
    """Medians and quartiles, also with pages that are kept, and as multiples of the others'."""
    pairs = list(zip(rows, others, strict=True))
    columns: list[Filled] = [
        (Column("layout", "left"), [row.layout for row in rows]),
        (Column("median ms"), [_number(row.median_ms, decimals) for row in rows]),
        (Column("quartiles ms"), [_quartiles(row, decimals) for row in rows]),
        (Column(header), [_number(_ratio(row.median_ms, other.median_ms), 2) for row, other in pairs]),
    ]
    if any(row.kept_ms is not None for row in rows):
        columns += [
            (Column("kept pages, ms"), [_number(row.kept_ms, decimals) for row in rows]),
            (Column(f"{header}, kept"), [_number(_ratio(row.kept_ms, other.kept_ms), 2) for row, other in pairs]),
        ]
    return columns


def _quartiles(row: Row, decimals: int) -> str:
    if row.low_ms is None or row.high_ms is None:
        return ""
    return f"{row.low_ms:.{decimals}f} to {row.high_ms:.{decimals}f}"


def _number(value: float | None, decimals: int) -> Number:
    return Number(value, "" if value is None else f"{value:.{decimals}f}")


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value / other


def _convolution_of(row: Row, rows: Sequence[Row]) -> Row:
    def setting(each: Row) -> tuple[object, ...]:
        return each.shape, each.spatial_extent, each.dtype, each.mode

    return next(other for other in rows if other.name == CONVOLUTION and setting(other) == setting(row))


def _notes(result: BenchResult) -> tuple[str, ...]:
    told = result.environment
    return (
        f"{told['device']}, {told['threads']} threads, allocator {told['allocator']}, torch {told['torch']}, "
        f"backends {', '.join(told['backends'])}, compiled kernel {told['kernel']}.",
        f"{result.heads} heads. Each in its faster layout; medians, interleaved in one process. Extra memory "
        "is the growth of the peak over one step, in a process whose allocator gives pages back.",
        "Kept pages: the same medians in another process, whose allocator keeps what is freed, as it does while sasa "
        "trains; fresh pages cost most where temporaries are large.",
    )


def save_numbers(result: BenchResult, folder: Path) -> list[Path]:
    """Write numbers and tables to `folder`, as far as they go; gives their paths. Raises `RunError`."""
    make_folder(folder)
    texts = {
        f"{_stem(result)}.json": json.dumps(result.payload(), indent=2) + "\n",
        f"{_stem(result)}.md": "\n".join(to_markdown(table) for table in tables_of(result)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def save_result(result: BenchResult, folder: Path) -> list[Path]:
    """The same with the figure."""
    paths = save_numbers(result, folder)
    figure = draw(result)
    write_text(folder / f"{_stem(result)}.svg", to_svg(figure))
    with atomic_path(folder / f"{_stem(result)}.png") as temporary:
        temporary.write_bytes(to_png(figure))
    return [*paths, folder / f"{_stem(result)}.svg", folder / f"{_stem(result)}.png"]


def _stem(result: BenchResult) -> str:
    """`bench` on a CPU, `bench-cuda` on a GPU: neither takes the other's place."""
    device = result.environment["device_type"]
    return "bench" if device == "cpu" else f"bench-{device}"


def draw(result: BenchResult) -> Figure:
    """Time (above) and peak memory (below) against k, a column of axes for each layer; of the first dtype and mode."""
    first = (result.rows[0].dtype, result.rows[0].mode)
    drawn = [row for row in result.rows if (row.dtype, row.mode) == first]
    shapes = list(dict.fromkeys(row.shape for row in drawn))
    with grid_canvas(2, len(shapes)) as (figure, grid):
        for column, shape in enumerate(shapes):
            rows = [row for row in drawn if row.shape == shape]
            batch, channels, height, width = shape
            grid[0][column].set_title(f"{batch} x {channels} x {height} x {width}", fontsize=7)
            for name in DRAWN:
                _draw_contestant(grid[0][column], grid[1][column], name, [row for row in rows if row.name == name])
            grid[1][column].set_xlabel("k")
        grid[0][0].set_ylabel("forward + backward, ms")
        grid[1][0].set_ylabel("peak extra memory, MiB")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(DRAWN) if len(shapes) > 1 else 2)
    return figure


def _draw_contestant(time_axes: Axes, memory_axes: Axes, name: str, rows: Sequence[Row]) -> None:
    index = DRAWN.index(name)
    measured = [
        (row.spatial_extent, row.peak_extra_mib) for row in rows if row.peak_extra_mib and row.peak_extra_mib > 0
    ]
    for axes, points in (
        (time_axes, [(row.spatial_extent, row.median_ms) for row in rows if row.median_ms]),
        (memory_axes, measured),
    ):
        axes.plot(
            [extent for extent, _ in points],
            [value for _, value in points],
            color=COLOURS[index],
            marker=MARKERS[index],
            linestyle=DASHES[index],
            label=LABELS[name],
        )
        if points:  # none where so little memory was taken that other work of the process hid it
            axes.set_yscale("log")
        axes.set_xticks([row.spatial_extent for row in rows])
        axes.grid(visible=True, axis="y")
