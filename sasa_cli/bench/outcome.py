"""A bench result as tables, a figure and files."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sasa_cli.bench.run import BenchResult, Row
from sasa_cli.rendering.drawing import COLOURS, DASHES, MARKERS, grid_canvas, to_png, to_svg
from sasa_cli.rendering.markdown import to_markdown
from sasa_cli.rendering.table import Column, Table
from sasa_cli.runs.files import atomic_path, make_folder, write_text

CONVOLUTION = "conv3x3"
DRAWN = ("auto", "unfold", "timm-halo", CONVOLUTION)
LABELS = {
    "auto": "attention (ours)",
    "unfold": "attention (unfold)",
    "timm-halo": "HaloAttn",
    CONVOLUTION: "3 x 3 convolution",
}


def layer_table(result: BenchResult) -> Table:
    """One row for each contestant, layer and k, with its times as multiples of the convolution's."""
    columns = (
        *(Column("B x C x H x W", "left"), Column("k"), Column("what", "left"), Column("layout", "left")),
        *(Column("median ms"), Column("quartiles ms"), Column("x conv3x3")),
        *(Column("kept pages, ms"), Column("x conv3x3, kept"), Column("extra MiB")),
    )
    rows = tuple(_layer_line(row, _convolution_of(row, result.rows)) for row in result.rows)
    return Table("Forward and backward of one layer", columns, rows, _notes(result))


def _layer_line(row: Row, convolution: Row) -> tuple[str, ...]:
    name = f"{row.name} ({row.backend})" if row.backend and row.name.startswith("auto") else row.name
    memory = "" if row.peak_extra_mib is None else f"{row.peak_extra_mib:.0f}"
    return (
        *(" x ".join(map(str, row.shape)), str(row.spatial_extent), name, row.layout),
        *(f"{row.median_ms:.1f}", f"{row.low_ms:.1f} to {row.high_ms:.1f}"),
        *(f"{row.median_ms / convolution.median_ms:.2f}", *_kept(row, convolution, 1), memory),
    )


def _kept(row: Row, convolution: Row, decimals: int) -> tuple[str, str]:
    """The median with kept pages, and as a multiple of the convolution's; empty where it was not measured."""
    if row.kept_ms is None or convolution.kept_ms is None:
        return "", ""
    return f"{row.kept_ms:.{decimals}f}", f"{row.kept_ms / convolution.kept_ms:.2f}"


def _convolution_of(row: Row, rows: Sequence[Row]) -> Row:
    same = (other for other in rows if (other.shape, other.spatial_extent) == (row.shape, row.spatial_extent))
    return next(other for other in same if other.name == CONVOLUTION)


def model_table(result: BenchResult) -> Table:
    """Whole training steps, with their time as a multiple of the convolutional net's."""
    columns = (
        *(Column("training step", "left"), Column("layout", "left"), Column("median ms"), Column("quartiles ms")),
        *(Column("x conv"), Column("kept pages, ms"), Column("x conv, kept")),
    )
    convolution = result.models[0]
    rows = tuple(
        (
            *(row.name, row.layout, f"{row.median_ms:.0f}", f"{row.low_ms:.0f} to {row.high_ms:.0f}"),
            *(f"{row.median_ms / convolution.median_ms:.2f}", *_kept(row, convolution, 0)),
        )
        for row in result.models
    )
    batch, _, height, width = convolution.shape
    return Table(f"A training step on {batch} images of {height} x {width} px", columns, rows)


def _notes(result: BenchResult) -> tuple[str, ...]:
    told = result.environment
    return (
        f"{told['device']}, {told['threads']} threads, allocator {told['allocator']}, torch {told['torch']}, "
        f"backends {', '.join(told['backends'])}, compiled kernel {told['kernel']}.",
        f"float32, {result.heads} heads. Each in its faster layout; medians, interleaved in one process. Extra memory "
        "is the growth of the peak over one step, in a process whose allocator gives pages back.",
        "Kept pages: the same medians in another process, whose allocator keeps what is freed, as it does while sasa "
        "trains; fresh pages cost most where temporaries are large.",
    )


def write_outcome(result: BenchResult, folder: Path) -> list[Path]:
    """Write bench.json, bench.md and the figure to `folder`; gives their paths. Raises `RunError`."""
    make_folder(folder)
    tables = [layer_table(result), *([model_table(result)] if result.models else [])]
    texts = {
        "bench.json": json.dumps(result.payload(), indent=2) + "\n",
        "bench.md": "\n".join(to_markdown(table) for table in tables),
    }
    figure = draw(result)
    texts["bench.svg"] = to_svg(figure)
    for name, text in texts.items():
        write_text(folder / name, text)
    with atomic_path(folder / "bench.png") as temporary:
        temporary.write_bytes(to_png(figure))
    return [folder / name for name in (*texts, "bench.png")]


def draw(result: BenchResult) -> Figure:
    """Time (above) and peak memory (below) against k, one column of axes for each layer."""
    shapes = list(dict.fromkeys(row.shape for row in result.rows))
    with grid_canvas(2, len(shapes)) as (figure, grid):
        for column, shape in enumerate(shapes):
            rows = [row for row in result.rows if row.shape == shape]
            batch, channels, height, width = shape
            grid[0][column].set_title(f"{batch} x {channels} x {height} x {width}", fontsize=7)
            for name in DRAWN:
                _draw_contestant(grid[0][column], grid[1][column], name, [row for row in rows if row.name == name])
            grid[1][column].set_xlabel("k")
        grid[0][0].set_ylabel("forward + backward, ms")
        grid[1][0].set_ylabel("peak extra memory, MiB")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(DRAWN))
    return figure


def _draw_contestant(time_axes: Axes, memory_axes: Axes, name: str, rows: Sequence[Row]) -> None:
    index = DRAWN.index(name)
    measured = [(row.spatial_extent, row.peak_extra_mib) for row in rows if row.peak_extra_mib]
    for axes, points in (
        (time_axes, [(row.spatial_extent, row.median_ms) for row in rows]),
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
        axes.set_yscale("log")
        axes.set_xticks([row.spatial_extent for row in rows])
        axes.grid(visible=True, axis="y")
