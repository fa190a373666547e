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
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

Dash = Literal["-", ""] | tuple[float, Sequence[float]]
LegendGroup = tuple[str, Sequence[Artist]]  # a title and the entries under it

INK = "#1a1a1a"  # not black, so that a page can tell it from other colours and set its own
RULE = "#d0d0d0"
BACKGROUND = "background"
WIDTH_INCHES = 5.5  # text width of a NeurIPS page
PNG_DPI = 200

# Okabe & Ito's colours, which stay apart under every common colour blindness; without their yellow, which is too
# pale for lines on white. Markers and dashes say the same again for prints in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*")
DASHES: tuple[Dash, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
)

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
def canvas(height_inches: float = 3.0) -> Iterator[tuple[Canvas, Axes]]:
    """A figure of the width of a page of text, with one pair of axes, drawn in the style of the report."""
    with _style():
        figure = Canvas(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        figure.patch.set_gid(BACKGROUND)
        yield figure, figure.add_subplot()


def dodge(axes: Axes, index: int, count: int, points: float = 4.0) -> Transform:
    """Moves series `index` of `count` a few points sideways, so that error bars at the same place stay readable."""
    offset = (index - (count - 1) / 2) * min(points, 40 / count)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)


def legend(figure: Canvas, groups: Sequence[LegendGroup]) -> None:
    """Beside the axes, where it can collide with nothing."""
    handles = [handle for title, entries in groups for handle in (Line2D([], [], linestyle="", label=title), *entries)]
    if not handles:
        return
    drawn = figure.legend(handles=handles, loc="outside right upper")
    for text in drawn.get_texts():
        if text.get_text() in {title for title, _ in groups}:
            text.set_x(-20)
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
    """An SVG file as an element of a page: no header, transparent, ids of its own, ink in the colour of the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(rf'<g id="{BACKGROUND}">.*?</g>', "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", body)
    body = body.replace(INK, "currentColor")
    return body.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1).strip()
