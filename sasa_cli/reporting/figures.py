"""The figures of a report: accuracy against each axis of the sweep and against cost, and how the runs were trained."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform

from sasa_cli.reporting.aggregate import HEADLINE, Axis, Cell, run_top1, value_text
from sasa_cli.reporting.document import Figure
from sasa_cli.reporting.drawing import canvas, dodge, legend, to_png, to_svg
from sasa_cli.reporting.looks import LEVEL_DASH, Look, by_colour, by_colour_and_mark, setting
from sasa_cli.reporting.quantities import headed, interval, unit_of

MARKS = "Markers: means over seeds. Bars: 95 % t intervals of the means. Small dots: single seeds."
COSTS: tuple[tuple[str, str, Callable[[Cell], int]], ...] = (
    ("params", "Parameters", lambda cell: cell.params),
    ("flops", "FLOPs", lambda cell: 2 * cell.macs),
)


def figures_of(cells: Sequence[Cell], axes: Sequence[Axis]) -> list[Figure]:
    """All figures that the finished runs give; one whose axis does not vary is not made."""
    shown = [cell for cell in cells if cell.records]
    figures = [
        _against_axis(shown, axis, [other for other in axes if other is not axis])
        for axis in axes
        if len({value_text(cell.values[axis.key]) for cell in shown if axis.key in cell.values}) > 1
    ]
    for name, title, cost in COSTS:
        if len(set(map(cost, shown))) > 1:
            figures.append(_against_cost(shown, axes, name, title, cost))
    trained = [cell for cell in shown if len(cell.curve()) > 1]
    if trained:
        figures.append(_training_curves(trained, axes))
    return figures


def _against_axis(cells: Sequence[Cell], axis: Axis, others: Sequence[Axis]) -> Figure:
    """Lines over a numeric axis, dots over any other; one series for each setting of the other axes."""
    grouping = by_colour(cells, others)
    placed = [cell for cell in cells if axis.key in cell.values]
    levels = [cell for cell in cells if axis.key not in cell.values]
    names = list(dict.fromkeys(map(grouping.name, placed)))
    ticks = {value_text(value): float(value) if axis.numeric else float(i) for i, value in enumerate(axis.values)}
    with canvas() as (figure, plot):
        for index, name in enumerate(names):
            points = [(ticks[setting(cell, [axis])], cell) for cell in placed if grouping.name(cell) == name]
            points.sort(key=lambda point: point[0])
            _points(plot, points, grouping.look(points[0][1]), dodge(plot, index, len(names)), joined=axis.numeric)
        for cell in levels:
            _level(plot, cell, grouping.look(cell))
        plot.set_xticks(list(ticks.values()), list(ticks))
        _label(plot, axis.title, "Test top-1 (%)")
        if not axis.numeric:
            _make_room(plot, list(ticks))
        only_level = set(map(grouping.name, levels)) - set(names)
        legend(figure, grouping.legend(markers=True, lines=axis.numeric, levels=only_level))
        without = f" Broken line and band: {', '.join(cell.label for cell in levels)}, where it has no effect."
        return _figure(
            figure,
            name=f"accuracy-by-{axis.slug}",
            title=f"Accuracy against {axis.title.lower()}",
            caption=f"Test top-1 of the last epoch. {MARKS}{without if levels else ''}",
            alt=_alt(axis.title, [(cell, setting(cell, [axis])) for cell in cells]),
        )


def _against_cost(
    cells: Sequence[Cell], axes: Sequence[Axis], name: str, title: str, cost: Callable[[Cell], int]
) -> Figure:
    """A point for each cell; colour tells the first axis, the marker the others."""
    grouping = by_colour_and_mark(cells, axes)
    factor, unit = unit_of([cost(cell) for cell in cells])
    with canvas() as (figure, plot):
        for cell in cells:
            _points(plot, [(cost(cell) / factor, cell)], grouping.look(cell), plot.transData, joined=False)
        _label(plot, headed(title, unit), "Test top-1 (%)")
        plot.xaxis.set_major_locator(MaxNLocator(6))
        legend(figure, grouping.legend(markers=True, lines=False))
        return _figure(
            figure,
            name=f"accuracy-by-{name}",
            title=f"Accuracy against {title if title == 'FLOPs' else title.lower()}",
            caption=f"Test top-1 of the last epoch. {MARKS}",
            alt=_alt(title, [(cell, f"{cost(cell) / factor:.3g} {unit}") for cell in cells]),
        )


def _training_curves(cells: Sequence[Cell], axes: Sequence[Axis]) -> Figure:
    """A line for each cell; colour tells the first axis, dashes the others."""
    grouping = by_colour_and_mark(cells, axes)
    with canvas(3.3) as (figure, plot):
        for cell in cells:
            look = grouping.look(cell)
            epochs, top1 = zip(*cell.curve(), strict=True)
            plot.plot(epochs, top1, color=look.colour, linestyle=look.dash)
        plot.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _label(plot, "Epoch", "Val top-1 (%)")
        legend(figure, grouping.legend(markers=False, lines=True))
        return _figure(
            figure,
            name="training-curves",
            title="Training curves",
            caption="Val top-1 after each epoch, mean over seeds.",
            alt="Val top-1 after the last epoch: "
            + "; ".join(f"{cell.label} {cell.curve()[-1][1]:.2f}" for cell in cells)
            + ".",
        )


def _points(
    plot: Axes, points: Sequence[tuple[float, Cell]], look: Look, transform: Transform, *, joined: bool
) -> None:
    """Means with their intervals, over the seeds that they are means of."""
    for x, cell in points:
        tops = [top1 for run in cell.runs if (top1 := run_top1(run, HEADLINE)) is not None]
        if len(tops) > 1:
            plot.scatter(
                [x] * len(tops), tops, color=look.colour, s=6, linewidths=0, alpha=0.55, transform=transform, zorder=2.2
            )
    measures = [measure for _, cell in points if (measure := cell.top1(HEADLINE)) is not None]
    plot.errorbar(
        [x for x, _ in points],
        [measure.mean for measure in measures],
        yerr=[math.nan if measure.half_width is None else measure.half_width for measure in measures],
        color=look.colour,
        marker=look.marker,
        linestyle=look.dash if joined else "none",
        elinewidth=0.8,
        transform=transform,
        zorder=2.5,
    )


def _level(plot: Axes, cell: Cell, look: Look) -> None:
    """A cell for which the axis means nothing: the same accuracy all along it."""
    measure = cell.top1(HEADLINE)
    assert measure is not None
    plot.axhline(measure.mean, color=look.colour, linestyle=LEVEL_DASH, linewidth=1.0, zorder=1.8)
    if measure.half_width is not None:
        plot.axhspan(measure.low, measure.high, color=look.colour, alpha=0.12, linewidth=0, zorder=1.5)


def _label(plot: Axes, x_label: str, y_label: str) -> None:
    """Labels, and no room for accuracies that cannot be."""
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
