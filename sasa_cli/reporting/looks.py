"""Which colour, marker and dash stands for which setting of the sweep, and the legend that says so."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from matplotlib.lines import Line2D

from sasa_cli.reporting.aggregate import Axis, Cell, value_text
from sasa_cli.reporting.drawing import COLOURS, DASHES, INK, MARKERS, Dash, LegendGroup

ANY = "any"  # in place of the value of an axis without effect: a net of convolutions is the same at any extent
T = TypeVar("T")

LEVEL_DASH: Dash = (0, (5, 2))


@dataclass(frozen=True)
class Look:
    """How a cell is told from the others."""

    colour: str
    marker: str
    dash: Dash


@dataclass(frozen=True)
class Grouping:
    """Settings told by colour, and settings told by marker and dash; without the latter, those repeat the colour."""

    colour_title: str
    colours: tuple[str, ...]
    mark_title: str
    marks: tuple[str, ...]
    places: dict[str, tuple[int, int]]
    """By the cell's hash: index of its colour, and of its marker and dash."""

    def name(self, cell: Cell) -> str:
        """The setting that the cell's colour stands for."""
        return self.colours[self.places[cell.cell_hash][0]]

    def look(self, cell: Cell) -> Look:
        """No two cells of different settings look alike, up to seven settings by nine."""
        colour, mark = self.places[cell.cell_hash]
        return Look(_nth(COLOURS, colour), _nth(MARKERS, mark), _nth(DASHES, mark))

    def legend(self, *, markers: bool, lines: bool, levels: Collection[str] = ()) -> list[LegendGroup]:
        """A group of entries for the colours and one for the marks, each where there is more than one.

        Args:
            markers: The figure has markers.
            lines: The figure has lines.
            levels: Settings that the figure shows as a level line only.
        """

        def entry(name: str, colour: str, mark: int) -> Line2D:
            if name in levels:
                return Line2D([], [], color=colour, linestyle=LEVEL_DASH, label=name)
            marker = _nth(MARKERS, mark) if markers else ""
            dash = _nth(DASHES, mark) if lines else ""
            return Line2D([], [], color=colour, marker=marker, linestyle=dash, label=name)

        apart = bool(self.marks)
        colours = [entry(name, _nth(COLOURS, i), 0 if apart else i) for i, name in enumerate(self.colours)]
        marks = [entry(name, INK, i) for i, name in enumerate(self.marks)]
        groups = ((self.colour_title, colours), (self.mark_title, marks))
        return [(title, entries) for title, entries in groups if len(entries) > 1]


def setting(cell: Cell, axes: Sequence[Axis]) -> str:
    """The values of a cell along `axes`, as text."""
    return ", ".join(value_text(cell.values[axis.key]) if axis.key in cell.values else ANY for axis in axes)


def by_colour(cells: Sequence[Cell], axes: Sequence[Axis]) -> Grouping:
    """A look for each setting along `axes`."""
    names = [setting(cell, axes) for cell in cells]
    return _grouping(cells, _titles(axes), names, "", None)


def by_colour_and_mark(cells: Sequence[Cell], axes: Sequence[Axis]) -> Grouping:
    """A look for each cell: colour for the first axis, marker and dash for the others."""
    if not axes:
        return _grouping(cells, "Cell", [cell.label for cell in cells], "", None)
    names = [setting(cell, axes[:1]) for cell in cells]
    marks = [setting(cell, axes[1:]) for cell in cells] if len(axes) > 1 else None
    return _grouping(cells, _titles(axes[:1]), names, _titles(axes[1:]), marks)


def _grouping(
    cells: Sequence[Cell], colour_title: str, names: Sequence[str], mark_title: str, marks: Sequence[str] | None
) -> Grouping:
    colours, shapes = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(marks or ()))
    places = {
        cell.cell_hash: (colours.index(name), shapes.index(mark) if marks else colours.index(name))
        for cell, name, mark in zip(cells, names, marks or names, strict=True)
    }
    return Grouping(colour_title, colours, mark_title, shapes, places)


def _titles(axes: Sequence[Axis]) -> str:
    return ", ".join(axis.title for axis in axes)


def _nth(items: Sequence[T], index: int) -> T:
    return items[index % len(items)]
