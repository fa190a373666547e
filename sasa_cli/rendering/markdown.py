"""A report as one markdown file, for GitHub and for editors; figures and run folders beside it."""

from dataclasses import replace

from sasa_cli.rendering.document import Block, Document, Figure, Link, LinkedTable, Note, Notes
from sasa_cli.rendering.table import MARKDOWN_ESCAPES, to_markdown


def to_markdown_report(document: Document) -> str:
    """The whole report; paths are as seen from its own folder."""
    head = [f"# {_plain(document.title)}"]
    head += [_plain(text) for text in (document.description, document.finding) if text]
    head += ["\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in document.facts)]
    for section in document.sections:
        head += [f"## {_plain(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(part.strip("\n") for part in head) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Notes):
        notes = map(_note, block.items)
        return "\n".join(f"> - {note}" if block.warning else f"- {note}" for note in notes)
    if isinstance(block, LinkedTable):
        return to_markdown(replace(block.table, rows=_rows(block)))
    return _figure(block)


def _note(note: Note) -> str:
    lead = f"__{_plain(note.lead)}.__" if note.lead else ""
    return " ".join(part for part in (lead, _plain(note.text), _link(note.link) if note.link else "") if part)


def _figure(figure: Figure) -> str:
    alt = figure.alt.translate(MARKDOWN_ESCAPES).replace("[", r"\[").replace("]", r"\]")
    return f"![{alt}](figures/{figure.name}.svg)\n\n**{_plain(figure.title)}.** {_plain(figure.caption)}"


def _rows(table: LinkedTable) -> tuple[tuple[str, ...], ...]:
    """Cells with their links. Bold is written with underscores, which the table's own escapes leave alone."""
    rows = [list(row) for row in table.table.rows]
    for (row, column), links in table.links.items():
        rows[row][column] = ", ".join(map(_link, links))
    for row, column in table.strong:
        rows[row][column] = f"__{rows[row][column]}__"
    return tuple(map(tuple, rows))


def _link(link: Link) -> str:
    return f"[{link.text}]({link.url})"


def _plain(text: str) -> str:
    return text.translate(MARKDOWN_ESCAPES)
