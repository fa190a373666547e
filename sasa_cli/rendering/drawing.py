"""How figures look, and their way into files that come out byte for byte the same each time they are drawn."""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerBase
from matplotlib.lines import Line2D
from matplotlib.offsetbox import OffsetBox
from matplotlib.transforms import ScaledTranslation, Transform

Dash = Literal["-", ""] | tuple[float, Sequence[float]]
Fill = Literal["full", "left", "right", "bottom", "top", "none"]
LegendGroup = tuple[str, Sequence[Artist]]  # a title and the entries under it

INK = "#1a1a1a"  # not black, so that a page can tell it from other colours and set its own
PAPER = "#ffffff"
RULE = "#d0d0d0"
BACKGROUND = "background"
WIDTH_INCHES = 4.8  # fits a page of text, and keeps its letters readable on a telephone
HEIGHT_INCHES = 2.8
CELL_INCHES = 1.8  # of a figure with several axes
LEGEND_LINE_INCHES = 0.17
PNG_DPI = 200

# Okabe & Ito's colours, which stay apart under every common colour blindness; without their yellow, which is too
# pale for lines on white. Markers say the same again for prints in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*")
FILLS: tuple[Fill, ...] = ("full", "none", "left", "bottom", "right", "top")
DASHES: tuple[Dash, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
)

LEVEL_DASH = DASHES[1]
"""Of a line that something is held against."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 5,
    "errorbar.capsize": 2,
    "svg.fonttype": "path",
    "svg.hashsalt": "sasa",
}


@contextmanager
def _style() -> Iterator[None]:
    """The report's style on matplotlib's own defaults, whatever the user has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


@contextmanager
def canvas() -> Iterator[tuple[Canvas, Axes]]:
    """A figure with one pair of axes, drawn in the style of the report."""
    with grid_canvas(1, 1) as (figure, grid):
        yield figure, grid[0][0]


@contextmanager
def grid_canvas(rows: int, columns: int) -> Iterator[tuple[Canvas, list[list[Axes]]]]:
    """A figure with rows and columns of axes, `grid[row][column]`, drawn in the style of the report."""
    with _style():
        size = (max(WIDTH_INCHES, CELL_INCHES * columns), max(HEIGHT_INCHES, CELL_INCHES * rows))
        figure = Canvas(figsize=size, layout="constrained")
        figure.patch.set_gid(BACKGROUND)
        yield figure, figure.subplots(rows, columns, squeeze=False).tolist()


def dodge(axes: Axes, index: int, count: int, spread: float) -> Transform:
    """Moves number `index` of `count` sideways, `spread` typographic points apart, so that bars stay readable."""
    offset = (index - (count - 1) / 2) * min(spread, 40 / count)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)


class _TitleHandler(HandlerBase):
    """An entry without a symbol, so that its text begins where the symbols of the others do."""

    def legend_artist(self, legend: Legend, orig_handle: Artist, fontsize: float, handlebox: OffsetBox) -> Artist:
        handlebox.width = -legend.handletextpad * fontsize
        return orig_handle


class _Title(Line2D):
    """The title of a group of entries."""

    def __init__(self, text: str) -> None:
        super().__init__([], [], label=text)


def legend(figure: Canvas, groups: Sequence[LegendGroup]) -> None:
    """Beside the axes, where it can collide with nothing; a long one makes the figure higher."""
    handles = [handle for title, entries in groups for handle in (_Title(title), *entries)]
    if not handles:
        return
    figure.set_figheight(max(HEIGHT_INCHES, LEGEND_LINE_INCHES * (len(handles) + 1)))
    drawn = figure.legend(handles=handles, loc="outside right upper", handler_map={_Title: _TitleHandler()})
    for handle, text in zip(handles, drawn.get_texts(), strict=True):
        if isinstance(handle, _Title):
            text.set_fontweight("bold")


def to_svg(figure: Canvas) -> str:
    """The figure as vectors, its text as outlines, without a date."""
    with _style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def to_png(figure: Canvas) -> bytes:
    """The figure as pixels, for viewers that show no SVG."""
    with _style():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def inline_svg(svg: str, prefix: str, label: str) -> str:
    """An SVG file as an element of a page: no header, ids of its own, and the page's own ink and paper."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(rf'<g id="{BACKGROUND}">.*?</g>', "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", body)
    for colour, name in ((INK, "currentColor"), (PAPER, "var(--paper)"), (RULE, "var(--rule)")):
        body = body.replace(colour, name)
    return body.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1).strip()
