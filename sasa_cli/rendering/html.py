"""A report as one HTML file that needs nothing else: style and figures are inside, links lead to run folders."""

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from sasa_cli.rendering.document import Block, Document, Figure, Notes
from sasa_cli.rendering.drawing import inline_svg
from sasa_cli.rendering.table import Entry, Interval, Links, Strong, Table

KINDS = {Table: "table", Figure: "figure", Notes: "notes", Interval: "interval", Links: "links", Strong: "strong"}
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
    environment.filters |= {"kind": _kind, "svg": _svg, "digits": _digits, "slug": _slug}
    return environment


def _kind(thing: Block | Entry) -> str:
    return KINDS.get(type(thing), "text")


def _svg(figure: Figure) -> Markup:
    return Markup(inline_svg(figure.svg, prefix=figure.name, label=figure.alt))


def _digits(table: Table) -> int:
    """Length of the longest half-width: all take its room, so that means line up."""
    entries = [entry.entry if isinstance(entry, Strong) else entry for row in table.rows for entry in row]
    return max((len(entry.half_width_text) for entry in entries if isinstance(entry, Interval)), default=0)


def _slug(text: str) -> str:
    return text.lower().replace(" ", "-")
