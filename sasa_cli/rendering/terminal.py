"""A table for a terminal."""

from typing import TYPE_CHECKING

from sasa_cli.rendering.table import Strong, Table

if TYPE_CHECKING:
    import rich.table


def to_rich(table: Table) -> "rich.table.Table":
    """For a terminal; print it with `console.print(..., crop=False)`.

    Where the terminal is narrow, text wraps and numbers do not, so that lines may be longer than it is wide.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rendered = RichTable(
        title=Text(table.title, style="bold"),
        caption=Text("\n".join(table.notes), style="dim") if table.notes else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    seen = table.seen
    for column, *entries in zip(seen.columns, *seen.rows, strict=True):
        words = column.header.split() + ([str(entry) for entry in entries] if column.align == "right" else [])
        rendered.add_column(Text(column.header), justify=column.align, min_width=max(map(len, words)), overflow="fold")
    for row in seen.rows:
        rendered.add_row(*(Text(str(entry), style="bold" if isinstance(entry, Strong) else "") for entry in row))
    return rendered
