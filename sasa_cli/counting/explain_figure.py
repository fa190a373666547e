"""The figure of `sasa count-flops --explain`: FLOPs and parameters of attention and convolution over k."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from sasa_cli.counting.equal_cost import (
    CHANNELS,
    EXTENTS,
    KERNEL,
    TERMS,
    attention_at,
    convolution_at,
    depthwise_at,
    equal_extent,
)
from sasa_cli.errors import SpecError
from sasa_cli.rendering.drawing import (
    COLOURS,
    DASHES,
    INK,
    LEVEL_DASH,
    MARKERS,
    Dash,
    grid_canvas,
    legend,
    to_png,
    to_svg,
)
from sasa_cli.runs.files import atomic_path

SUFFIXES = (".svg", ".png")
WIDTH_WITH_LEGEND = 7.6  # inches


def write_figure(path: Path) -> list[Path]:
    """Draw the figure into `path`, its suffix .svg or .png; into both where it has none.

    Raises:
        SpecError: another suffix.
        RunError: a file cannot be written.
    """
    if path.suffix not in ("", *SUFFIXES):
        raise SpecError(f"--figure {path}: {path.suffix} is not allowed; allowed are .svg, .png, or none for both")
    paths = [path] if path.suffix else [path.with_suffix(suffix) for suffix in SUFFIXES]
    figure = draw_claim()
    for each in paths:
        with atomic_path(each) as temporary:
            temporary.write_bytes(to_svg(figure).encode() if each.suffix == ".svg" else to_png(figure))
    return paths


def draw_claim() -> Canvas:
    """FLOPs and parameters over k; a ring where attention costs as much as the 3x3 convolution."""
    with grid_canvas(1, 2) as (figure, grid):
        flops, params = grid[0]
        figure.set_figwidth(WIDTH_WITH_LEGEND)
        convolutions, attentions = _draw_flops(flops)
        _draw_params(params)
        for plot in (flops, params):
            plot.set_xlabel(f"k, with {CHANNELS} channels")
            plot.set_xticks(EXTENTS[::2])
        legend(figure, [("Convolution", convolutions), ("Attention", attentions)])
        return figure


def _draw_flops(plot: Axes) -> tuple[list[Line2D], list[Line2D]]:
    """A line for convolutions, which soon leaves the axes, and one for each way of counting attention."""
    unit = convolution_at(KERNEL).macs * 2
    costs = [2 * convolution_at(k).macs / unit for k in EXTENTS]
    convolutions = [
        _line(plot, costs, INK, MARKERS[-1], "-", "k x k"),
        _line(plot, [2 * depthwise_at(k).macs / unit for k in EXTENTS], INK, MARKERS[-2], DASHES[2], "depthwise k x k"),
        plot.axhline(1, color=INK, linestyle=LEVEL_DASH, linewidth=1.0, label=f"{KERNEL} x {KERNEL}"),
    ]
    attentions = []
    for terms, colour, marker, dash in zip(TERMS, COLOURS, MARKERS, DASHES, strict=False):
        attentions.append(_line(plot, [terms.flops(k) / unit for k in EXTENTS], colour, marker, dash, terms.name))
        plot.plot(equal_extent(terms), 1, "o", color=colour, markerfacecolor="none", markersize=9)
    plot.set_ylim(0, 1.1 * attention_at(EXTENTS[-1]).macs * 2 / unit)
    plot.set_ylabel(f"FLOPs, {KERNEL} x {KERNEL} convolution = 1")
    return convolutions, attentions


def _draw_params(plot: Axes) -> None:
    """Parameters depend on no way of counting: attention has a colour and a marker of its own here."""
    costs = [convolution_at(k).params for k in EXTENTS]
    _line(plot, costs, INK, MARKERS[-1], "-", "")
    _line(plot, [depthwise_at(k).params for k in EXTENTS], INK, MARKERS[-2], DASHES[2], "")
    _line(plot, [attention_at(k).params for k in EXTENTS], COLOURS[len(TERMS)], MARKERS[len(TERMS)], "-", "")
    for text, k, params, shift in (
        ("convolution k x k", 15, convolution_at(15).params, -30),
        ("attention", 5, attention_at(5).params, 6),
        ("depthwise k x k", 15, depthwise_at(15).params, -26),
    ):
        plot.annotate(text, (k, params), ha="center", xytext=(0, shift), textcoords="offset points")
    plot.set_yscale("log")
    plot.set_ylabel("Parameters")


def _line(plot: Axes, costs: list[float] | list[int], colour: str, marker: str, dash: Dash, name: str) -> Line2D:
    (line,) = plot.plot(EXTENTS, costs, color=colour, marker=marker, linestyle=dash, markersize=3.5, label=name)
    return line
