import csv
import io

import pytest
from rich.console import Console

from sasa_cli.rendering.table import Column, Table, to_csv, to_latex, to_markdown, to_rich

TABLE = Table(
    "Top-1 & cost",
    (Column("Model", "left"), Column("Top-1 (%)"), Column("FLOPs")),
    (("sasa_resnet50 CCAA", "77.4 ± 0.1", "7.431 G"), ("a|b, [bold]*c", "—", "")),
    ("Mean ± interval, n = 3.",),
)


def test_markdown():
    assert (
        to_markdown(TABLE)
        == """**Top-1 & cost**

| Model              |  Top-1 (%) |   FLOPs |
| ------------------ | ---------: | ------: |
| sasa_resnet50 CCAA | 77.4 ± 0.1 | 7.431 G |
| a\\|b, [bold]\\*c    |          — |         |

Mean ± interval, n = 3.
"""
    )


def test_markdown_has_three_dashes_under_the_shortest_header():
    assert "| --: |" in to_markdown(Table("k", (Column("k"),), (("3",),)))


def test_csv_gives_the_cells_back():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows == [list(TABLE.headers), *map(list, TABLE.rows)]


def test_latex():
    assert (
        to_latex(TABLE)
        == r"""\begin{table}
\centering
\caption{Top-1 \& cost}
\begin{tabular}{lrr}
\toprule
Model & Top-1 (\%) & FLOPs \\
\midrule
sasa\_resnet50 CCAA & 77.4 $\pm$ 0.1 & 7.431 G \\
a|b, {[}bold{]}*c & --- &  \\
\bottomrule
\end{tabular}
\par\smallskip{\footnotesize Mean $\pm$ interval, n = 3.}
\end{table}
"""
    )


@pytest.mark.parametrize("width", [40, 200])
def test_rich_shows_every_number_and_reads_no_markup(width: int):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_rich(TABLE), crop=False)
    text = console.export_text()
    assert "77.4 ± 0.1" in text
    assert "7.431 G" in text
    assert "[bold]" in text


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"2 columns, but 1 cells in row \('a',\)"):
        Table("t", (Column("x"), Column("y")), (("a",),))


def test_latex_breaks_lines_in_columns_of_sentences() -> None:
    table = Table("T", (Column("Claim", "left", sentences=True), Column("n")), (("It is better.", "3"),))
    assert r"\begin{tabular}{p{0.33\linewidth}r}" in to_latex(table)
