"""The figures of a report: accuracy against each axis of the sweep and against cost, and how the runs were trained."""

import math
from bisect import bisect
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform

from sasa_cli.rendering.document import Figure
from sasa_cli.rendering.drawing import INK, LEVEL_DASH, canvas, dodge, legend, to_png, to_svg
from sasa_cli.rendering.numbers import headed, unit_of
from sasa_cli.reporting.evidence.cells import HEADLINE, Axis, Cell, run_top1, value_text
from sasa_cli.reporting.pages.intervals import interval
from sasa_cli.reporting.pages.looks import (
    ANY,
    Grouping,
    Look,
    by_colour,
    by_colour_and_fill,
    colour_axis_first,
    setting,
)

MARKS = "Markers: means over seeds. Bars: 95 % t intervals of the means. Small dots: single seeds."
NEARLY_EQUAL = 0.01  # of the width of the axes
COSTS: tuple[tuple[str, str, Callable[[Cell], int]], ...] = (
    ("params", "Parameters", lambda cell: cell.params),
    ("flops", "FLOPs", lambda cell: 2 * cell.macs),
)


def figures_of(cells: Sequence[Cell], axes: Sequence[Axis]) -> list[Figure]:
    """All figures that the finished runs give; one whose axis does not vary is not made."""
    shown = [cell for cell in cells if cell.records]
    ordered = colour_axis_first(axes)
    figures = []
    for axis in axes:
        if len({value_text(cell.values[axis.key]) for cell in shown if axis.key in cell.values}) > 1:
            figures.append((_over_numbers if axis.numeric else _over_categories)(shown, axis, ordered))
    for name, title, cost in COSTS:
        if len(set(map(cost, shown))) > 1:
            figures.append(_over_cost(shown, ordered, name, title, cost))
    trained = [cell for cell in shown if len(cell.curve()) > 1]
    if trained:
        figures.append(_training_curves(trained, ordered))
    return figures


def _over_numbers(cells: Sequence[Cell], axis: Axis, axes: Sequence[Axis]) -> Figure:
    """A line for each setting of the other axes; a level for a cell that has no place on this one."""
    grouping = by_colour(cells, [other for other in axes if other is not axis])
    placed = [cell for cell in cells if axis.key in cell.values]
    levels = [cell for cell in cells if axis.key not in cell.values]
    names = list(dict.fromkeys(map(grouping.name, placed)))
    with canvas() as (figure, plot):
        for index, name in enumerate(names):
            points = [(float(cell.values[axis.key]), cell) for cell in placed if grouping.name(cell) == name]
            points.sort(key=lambda point: point[0])
            _points(plot, points, grouping.look(points[0][1]), dodge(plot, index, len(names), 4), joined=True)
        for cell in levels:
            _level(plot, cell, grouping.look(cell))
        plot.set_xticks(list(axis.values), list(map(value_text, axis.values)))
        _label(plot, axis.title, "Test top-1 (%)")
        legend(figure, grouping.legend(markers=True, lines=True, levels=set(map(grouping.name, levels)) - set(names)))
        return _axis_figure(figure, axis, cells, grouping)


def _over_categories(cells: Sequence[Cell], axis: Axis, axes: Sequence[Axis]) -> Figure:
    """A point for each cell above the name of its value."""
    is_colour = axis is axes[0]
    grouping = by_colour_and_fill(cells, axes if is_colour else [other for other in axes if other is not axis])
    names = list(map(value_text, axis.values))
    with canvas() as (figure, plot):
        placed = [(float(names.index(setting(cell, [axis]))), cell) for cell in cells if axis.key in cell.values]
        _side_by_side(plot, placed, grouping, spread=9)
        for cell in cells:
            if axis.key not in cell.values:
                _level(plot, cell, grouping.look(cell))
        plot.set_xticks(range(len(names)), names)
        _label(plot, axis.title, "Test top-1 (%)")
        _make_room(plot, names)
        groups = grouping.legend(markers=True, lines=False)
        legend(figure, [group for group in groups if group[0] != axis.title])
        return _axis_figure(figure, axis, cells, grouping)


def _axis_figure(figure: Canvas, axis: Axis, cells: Sequence[Cell], grouping: Grouping) -> Figure:
    levels = ", ".join(cell.label for cell in cells if axis.key not in cell.values)
    without = f" Broken line and band: {levels}, where {axis.title.lower()} has no effect." if levels else ""
    return _figure(
        figure,
        name=f"accuracy-by-{axis.slug}",
        title=f"Accuracy against {axis.title.lower()}",
        caption=f"Test top-1 of the last epoch. {MARKS}{without}{_any_caption(grouping)}",
        alt=_alt(axis.title, [(cell, setting(cell, [axis])) for cell in cells]),
    )


def _any_caption(grouping: Grouping) -> str:
    return f" “{ANY}”: where this setting has no effect." if ANY in (*grouping.colours, *grouping.fills) else ""


def _over_cost(
    cells: Sequence[Cell], axes: Sequence[Axis], name: str, title: str, cost: Callable[[Cell], int]
) -> Figure:
    """A point for each cell; colour and marker tell the first axis, the filling the others."""
    grouping = by_colour_and_fill(cells, axes)
    factor, unit = unit_of([cost(cell) for cell in cells])
    with canvas() as (figure, plot):
        _side_by_side(plot, [(cost(cell) / factor, cell) for cell in cells], grouping, spread=4)
        _label(plot, headed(title, unit), "Test top-1 (%)")
        plot.xaxis.set_major_locator(MaxNLocator(6))
        legend(figure, grouping.legend(markers=True, lines=False))
        return _figure(
            figure,
            name=f"accuracy-by-{name}",
            title=f"Accuracy against {title if title == 'FLOPs' else title.lower()}",
            caption=f"Test top-1 of the last epoch. {MARKS} Cells of nearly equal cost stand side by side."
            + _any_caption(grouping),
            alt=_alt(title, [(cell, f"{cost(cell) / factor:.3g} {unit}") for cell in cells]),
        )


def _training_curves(cells: Sequence[Cell], axes: Sequence[Axis]) -> Figure:
    """A line for each cell; colour and marker tell the first axis, dashes the others."""
    grouping = by_colour_and_fill(cells, axes)
    with canvas() as (figure, plot):
        for cell in cells:
            look = grouping.look(cell)
            epochs, top1 = zip(*cell.curve(), strict=True)
            plot.plot(
                epochs,
                top1,
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=3.5,
                markevery=max(1, len(epochs) // 8),
            )
        plot.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _label(plot, "Epoch", "Val top-1 (%)")
        legend(figure, grouping.legend(markers=True, lines=True))
        return _figure(
            figure,
            name="training-curves",
            title="Training curves",
            caption="Val top-1 after each epoch, mean over seeds.",
            alt="Val top-1 after the last epoch: "
            + "; ".join(f"{cell.label} {cell.curve()[-1][1]:.2f}" for cell in cells)
            + ".",
        )


def _side_by_side(plot: Axes, points: Sequence[tuple[float, Cell]], grouping: Grouping, spread: float) -> None:
    """Single points; those at nearly the same place move apart by `spread` typographic points."""
    places = sorted({place for place, _ in points})
    near = NEARLY_EQUAL * (places[-1] - places[0])
    starts = [place for before, place in zip([-math.inf, *places], places, strict=False) if place - before > near]
    clusters = [bisect(starts, place) for place, _ in points]
    for index, (place, cell) in enumerate(points):
        neighbours = [other for other, cluster in enumerate(clusters) if cluster == clusters[index]]
        shift = dodge(plot, neighbours.index(index), len(neighbours), spread)
        _points(plot, [(place, cell)], grouping.look(cell), shift, joined=False)


def _points(
    plot: Axes, points: Sequence[tuple[float, Cell]], look: Look, transform: Transform, *, joined: bool
) -> None:
    """Means with their intervals, over the seeds that they are means of."""
    for x, cell in points:
        tops = [top1 for run in cell.runs if (top1 := run_top1(run, HEADLINE)) is not None]
        if len(tops) > 1:
            plot.scatter([x] * len(tops), tops, s=3, color=INK, linewidths=0, transform=transform, zorder=3)
    measures = [measure for _, cell in points if (measure := cell.top1(HEADLINE)) is not None]
    for (x, _), measure in zip(points, measures, strict=True):
        plot.update_datalim([(x, measure.low), (x, measure.high)])
    plot.errorbar(
        [x for x, _ in points],
        [measure.mean for measure in measures],
        yerr=[math.nan if measure.half_width is None else measure.half_width for measure in measures],
        color=look.colour,
        linestyle=look.dash if joined else "none",
        elinewidth=0.8,
        transform=transform,
        zorder=2.5,
        **look.marker_style,
    )


def _level(plot: Axes, cell: Cell, look: Look) -> None:
    """A cell for which the axis means nothing: the same accuracy all along it."""
    measure = cell.top1(HEADLINE)
    assert measure is not None
    plot.axhline(measure.mean, color=look.colour, linestyle=LEVEL_DASH, linewidth=1.0, zorder=1.8)
    if measure.half_width is not None:
        plot.axhspan(measure.low, measure.high, color=look.colour, alpha=0.12, linewidth=0, zorder=1.5)


def _label(plot: Axes, x_label: str, y_label: str) -> None:
    """Labels and limits, without room for accuracies that cannot be."""
    plot.autoscale_view()
    plot.set_xlabel(x_label)
    plot.set_ylabel(y_label)
    low, high = plot.get_ylim()
    plot.set_ylim(max(0.0, low), min(100.0, high))


def _make_room(plot: Axes, labels: Sequence[str]) -> None:
    """Half a step beside the first and last category, and tilted labels where they would touch."""
    plot.set_xlim(-0.5, len(labels) - 0.5)
    if sum(map(len, labels)) > 60:
        plot.tick_params(axis="x", labelrotation=30)
        for text in plot.get_xticklabels():
            text.set_horizontalalignment("right")


def _alt(title: str, cells: Sequence[tuple[Cell, str]]) -> str:
    described = (f"{cell.label} at {place}: {interval(cell.top1(HEADLINE))}" for cell, place in cells)
    return f"Test top-1 in per cent against {title}. " + "; ".join(described) + "."


def _figure(figure: Canvas, *, name: str, title: str, caption: str, alt: str) -> Figure:
    return Figure(name, title, caption, alt, to_svg(figure), to_png(figure))
