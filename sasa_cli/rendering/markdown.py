"""Tables as GitHub's markdown, and a report as one such file; figures and run folders beside it."""

import re

from sasa_cli.rendering.document import Block, Document, Figure, Note, Notes
from sasa_cli.rendering.table import Entry, Link, Links, Strong, Table

ESCAPES = str.maketrans({"<": "&lt;", "\n": "<br>"} | {mark: "\\" + mark for mark in "\\|*`[]~$"})
ENTITY = re.compile(r"&(?=#?\w+;)")
OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside of a word it means itself
LINE_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|>|[-=][-=\s]*$))")
"""Where a text would begin a heading, a list, a quote or a rule."""


def to_markdown_report(document: Document) -> str:
    """The whole report; paths are as seen from its own folder."""
    head = [f"# {_plain(document.title)}"]
    head += [_plain(text) for text in (document.description, document.headline) if text]
    head += ["\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in document.facts)]
    for chapter in document.chapters:
        head += [f"## {_plain(chapter.title)}", *map(_block, chapter.blocks)]
    return "\n\n".join(part.strip("\n") for part in head) + "\n"


def to_markdown(table: Table) -> str:
    """GitHub markdown: title in bold, the table with its columns padded, each note a line of its own."""
    seen = table.seen
    lines = [tuple(map(_entry, row)) for row in (seen.headers, *seen.rows)]
    # GitHub wants three dashes under a header.
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = tuple(
        "-" * (width - 1) + ":" if column.align == "right" else "-" * width
        for column, width in zip(seen.columns, widths, strict=True)
    )
    padded = (
        "| "
        + " | ".join(
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for cell, column, width in zip(line, seen.columns, widths, strict=True)
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )
    notes = [f"\n{_plain(note)}" for note in table.notes]
    return "\n".join([f"**{_plain(table.title)}**\n", *padded, *notes]) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Notes):
        notes = map(_note, block.items)
        return "\n".join(f"> - {note}" if block.warning else f"- {note}" for note in notes)
    return to_markdown(block) if isinstance(block, Table) else _figure(block)


def _entry(entry: Entry) -> str:
    """Bold is written with underscores, which stand out from the asterisks that are escaped in text."""
    if isinstance(entry, Links):
        return ", ".join(map(_link, entry.items))
    return f"__{_plain(str(entry))}__" if isinstance(entry, Strong) else _plain(str(entry))


def _note(note: Note) -> str:
    lead = f"__{_plain(note.lead)}.__" if note.lead else ""
    return " ".join(part for part in (lead, _plain(note.text), _link(note.link) if note.link else "") if part)


def _figure(figure: Figure) -> str:
    return f"![{_plain(figure.alt)}](figures/{figure.name}.svg)\n\n**{_plain(figure.title)}.** {_plain(figure.caption)}"


def _link(link: Link) -> str:
    return f"[{_plain(link.text)}]({link.href})"


def _plain(text: str) -> str:
    """``text`` such that readers see it as it is, wherever it stands."""
    text = ENTITY.sub("&amp;", text.lstrip())
    escaped = OUTER_UNDERSCORE.sub(r"\\_", text.translate(ESCAPES))
    return LINE_START.sub(r"\1\\", escaped)
