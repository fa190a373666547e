"""Tables as text: one neutral `Table`, rendered for terminals, GitHub, LaTeX and programs.

Cells are plain text. Each renderer escapes what its format would read as markup, so that a cell looks the
same everywhere.
"""

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import rich.table

LATEX_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "[": "{[}",  # `\\ [` would be read as a row's extra space
        "]": "{]}",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "−": r"$-$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "Δ": r"$\Delta$",
        "…": r"\dots{}",
        "–": "--",
        "—": "---",
        "\n": " ",
    }
)
SENTENCES = r"p{0.33\linewidth}"
MARKDOWN_ESCAPES = str.maketrans({"\\": r"\\", "|": r"\|", "*": r"\*", "`": r"\`", "<": "&lt;", "\n": "<br>"})


@dataclass(frozen=True)
class Column:
    """A column's header and the side on which its cells line up."""

    header: str
    align: Literal["left", "right"] = "right"
    sentences: bool = False
    """Its cells are too long for one line; LaTeX has to be told so."""


@dataclass(frozen=True)
class Table:
    """A table of plain text, with one cell for each column in each row.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(self.columns)} columns, but {len(row)} cells in row {row}")

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(column.header for column in self.columns)


def to_markdown(table: Table) -> str:
    """GitHub markdown: title in bold, the table with its columns padded, each note a line of its own."""
    lines = [tuple(cell.translate(MARKDOWN_ESCAPES) for cell in row) for row in (table.headers, *table.rows)]
    # GitHub wants three dashes under a header.
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = tuple(
        "-" * (width - 1) + ":" if column.align == "right" else "-" * width
        for column, width in zip(table.columns, widths, strict=True)
    )
    padded = (
        "| "
        + " | ".join(
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for cell, column, width in zip(line, table.columns, widths, strict=True)
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )
    notes = [f"\n{note.translate(MARKDOWN_ESCAPES)}" for note in table.notes]
    return "\n".join([f"**{table.title.translate(MARKDOWN_ESCAPES)}**\n", *padded, *notes]) + "\n"


def to_csv(table: Table) -> str:
    """Headers and rows only, so that every reader of CSV takes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headers)
    writer.writerows(table.rows)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A `table` environment for the package booktabs: title as caption, notes below the rules."""

    def line(cells: tuple[str, ...]) -> str:
        return " & ".join(cell.translate(LATEX_ESCAPES) for cell in cells) + r" \\"

    spec = "".join(SENTENCES if column.sentences else column.align[0] for column in table.columns)
    notes = [rf"\par\smallskip{{\footnotesize {note.translate(LATEX_ESCAPES)}}}" for note in table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{table.title.translate(LATEX_ESCAPES)}}}",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            line(table.headers),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


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
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        words = column.header.split() + (cells if column.align == "right" else [])
        rendered.add_column(Text(column.header), justify=column.align, min_width=max(map(len, words)), overflow="fold")
    for row in table.rows:
        rendered.add_row(*map(Text, row))
    return rendered
