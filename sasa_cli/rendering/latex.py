"""A table for LaTeX."""

from sasa_cli.rendering.table import Entry, Strong, Table

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


def to_latex(table: Table) -> str:
    """A `table` environment for the package booktabs: title as caption, notes below the rules.

    Columns that only lead somewhere are left out: paper has no links.
    """

    shown = table.seen.kept(column for column in table.columns if not column.leads)

    def line(entries: tuple[Entry, ...]) -> str:
        return " & ".join(map(_entry, entries)) + r" \\"

    spec = "".join(SENTENCES if column.sentences else column.align[0] for column in shown.columns)
    notes = [rf"\par\smallskip{{\footnotesize {note.translate(LATEX_ESCAPES)}}}" for note in table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{table.title.translate(LATEX_ESCAPES)}}}",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            line(shown.headers),
            r"\midrule",
            *map(line, shown.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _entry(entry: Entry) -> str:
    text = str(entry).translate(LATEX_ESCAPES)
    return rf"\textbf{{{text}}}" if isinstance(entry, Strong) else text
