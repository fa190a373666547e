"""A report as one HTML file that needs nothing else: style and figures are inside, links lead to run folders."""

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from sasa_cli.rendering.document import Block, Document, Figure, LinkedTable
from sasa_cli.rendering.drawing import inline_svg
from sasa_cli.rendering.table import Table

TEMPLATES = Path(__file__).parent / "templates"


def to_html(document: Document) -> str:
    """The whole report; paths are as seen from its own folder."""
    return _environment().get_template("report.html.j2").render(document=document)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"kind": _kind, "svg": _svg, "measure": _measure, "digits": _digits, "slug": _slug}
    return environment


def _kind(block: Block) -> str:
    if isinstance(block, LinkedTable):
        return "table"
    return "figure" if isinstance(block, Figure) else "notes"


def _svg(figure: Figure) -> Markup:
    return Markup(inline_svg(figure.svg, prefix=figure.name, label=figure.alt))


def _measure(text: str) -> tuple[str, str] | None:
    """Mean and half-width apart, so that both line up below each other."""
    mean, sign, half_width = text.partition(" ± ")
    return (mean, half_width) if sign else None


def _digits(table: Table) -> int:
    """Length of the longest half-width: all take its room, so that means line up."""
    return max((len(parts[1]) for row in table.rows for text in row if (parts := _measure(text))), default=0)


def _slug(text: str) -> str:
    return text.lower().replace(" ", "-")
