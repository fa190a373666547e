"""Which colour, marker, filling and dash stands for which setting of the sweep, and the legend that says so."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from matplotlib.lines import Line2D

from sasa_cli.rendering.drawing import COLOURS, DASHES, FILLS, INK, LEVEL_DASH, MARKERS, PAPER, Dash, Fill, LegendGroup
from sasa_cli.reporting.evidence.cells import Axis, Cell, value_text

ANY = "any"  # in place of the value of an axis without effect: a net of convolutions is the same at any extent
T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """How a cell is told from the others."""

    colour: str
    marker: str
    fill: Fill
    dash: Dash

    @property
    def marker_style(self) -> dict[str, Any]:
        """Keywords of a line; an open marker hides the error bar behind it."""
        face = {"markerfacecolor": PAPER} if self.fill == "none" else {"fillstyle": self.fill}
        return {"marker": self.marker, "markerfacecoloralt": PAPER, **face}

    def handle(self, name: str, *, markers: bool, lines: bool) -> Line2D:
        """Its entry in a legend."""
        style = self.marker_style if markers else {}
        return Line2D([], [], label=name, color=self.colour, linestyle=self.dash if lines else "", **style)


@dataclass(frozen=True)
class Grouping:
    """Settings told by colour and marker, and settings told by filling and dash.

    Without the latter, dashes repeat the colours, so that lines can be told apart in print without colour.
    """

    colour_title: str
    colours: tuple[str, ...]
    fill_title: str
    fills: tuple[str, ...]
    places: dict[str, tuple[int, int]]
    """By the cell's label: indices of its settings in `colours` and `fills`."""

    def name(self, cell: Cell) -> str:
        """The setting that the cell's colour stands for."""
        return self.colours[self.places[cell.label][0]]

    def look(self, cell: Cell) -> Look:
        """The same for cells of the same settings."""
        colour, fill = self.places[cell.label]
        return self._look(colour, fill)

    def legend(self, *, markers: bool, lines: bool, levels: Collection[str] = ()) -> list[LegendGroup]:
        """A group of entries for the colours and one for the fillings, each where there is more than one.

        Args:
            markers: The figure has markers.
            lines: The figure has lines.
            levels: Settings that the figure shows as a level line only.
        """
        colours = [
            replace(self._look(i, 0), dash=LEVEL_DASH).handle(name, markers=False, lines=True)
            if name in levels
            else self._look(i, 0).handle(name, markers=markers, lines=lines)
            for i, name in enumerate(self.colours)
        ]
        fills = [
            replace(self._look(0, i), colour=INK).handle(name, markers=markers and not lines, lines=lines)
            for i, name in enumerate(self.fills)
        ]
        groups = ((self.colour_title, colours), (self.fill_title, fills))
        return [(title, entries) for title, entries in groups if len(entries) > 1]

    def _look(self, colour: int, fill: int) -> Look:
        dash = fill if self.fills else colour
        return Look(_nth(COLOURS, colour), _nth(MARKERS, colour), _nth(FILLS, fill), _nth(DASHES, dash))


def setting(cell: Cell, axes: Sequence[Axis]) -> str:
    """The values of a cell along `axes`, as text."""
    return ", ".join(value_text(cell.values[axis.key]) if axis.key in cell.values else ANY for axis in axes)


def by_colour(cells: Sequence[Cell], axes: Sequence[Axis]) -> Grouping:
    """A look for each setting along `axes`."""
    names = [setting(cell, axes) for cell in cells]
    return _grouping(cells, _titles(axes), names, "", [])


def colour_axis_first(axes: Sequence[Axis]) -> list[Axis]:
    """Colours say what has no order: they go to the first axis that is not numeric, where there is one."""
    return sorted(axes, key=lambda axis: axis.numeric)


def by_colour_and_fill(cells: Sequence[Cell], axes: Sequence[Axis]) -> Grouping:
    """A look for each cell: colour and marker for the first axis, filling and dash for the others."""
    if not axes:
        return _grouping(cells, "Cell", [cell.label for cell in cells], "", [])
    names = [setting(cell, axes[:1]) for cell in cells]
    fills = [setting(cell, axes[1:]) for cell in cells] if len(axes) > 1 else []
    return _grouping(cells, _titles(axes[:1]), names, _titles(axes[1:]), fills)


def _grouping(
    cells: Sequence[Cell], colour_title: str, names: Sequence[str], fill_title: str, fills: Sequence[str]
) -> Grouping:
    colours, fillings = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(fills))
    places = {
        cell.label: (colours.index(names[i]), fillings.index(fills[i]) if fills else 0) for i, cell in enumerate(cells)
    }
    return Grouping(colour_title, colours, fill_title, fillings, places)


def _titles(axes: Sequence[Axis]) -> str:
    return ", ".join(axis.title for axis in axes)


def _nth(items: Sequence[T], index: int) -> T:
    return items[index % len(items)]
