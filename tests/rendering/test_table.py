import csv
import io

import pytest
from rich.console import Console

from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.document import Chapter, Document
from sasa_cli.rendering.html import to_html
from sasa_cli.rendering.latex import to_latex
from sasa_cli.rendering.markdown import to_markdown
from sasa_cli.rendering.table import Column, Interval, Link, Links, Number, Strong, Table, for_programs
from sasa_cli.rendering.terminal import to_rich

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
| a\\|b, \\[bold\\]\\*c  |          — |         |

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
    with pytest.raises(ValueError, match=r"2 columns, but 1 entries in row \('a',\)"):
        Table("t", (Column("x"), Column("y")), (("a",),))


def test_latex_breaks_lines_in_columns_of_sentences() -> None:
    table = Table("T", (Column("Claim", "left", sentences=True), Column("n")), (("It is better.", "3"),))
    assert r"\begin{tabular}{p{0.33\linewidth}r}" in to_latex(table)


TYPED = Table(
    "Typed",
    (
        Column("Cell", "left", names=("cell",)),
        Column("Top-1", names=("mean", "half_width")),
        Column("Parameters (M)", names=("params",)),
        for_programs("macs", [])[0],
        Column("Seeds", "left", leads=True, names=()),
    ),
    (
        (
            "CCCC",
            Strong(Interval(84.2049, 0.5149)),
            Number(25_557_032, "25.6"),
            Number(7, ""),
            Links((Link("0", "r/"),)),
        ),
        ("AAAA", Interval(80.0, None), Number(None, "–"), Number(None, ""), "–"),
        ("CCAA", Interval(None, None), Number(3, "3 ± 4"), Number(None, ""), "–"),
    ),
)


def test_each_format_renders_an_entry_once():
    markdown = to_markdown(TYPED).splitlines()
    assert markdown[2].split("|")[1:-1] != []
    assert [cell.strip() for cell in markdown[4].split("|")[1:-1]] == ["CCCC", "__84.20 ± 0.51__", "25.6", "[0](r/)"]
    assert [cell.strip() for cell in markdown[5].split("|")[1:-1]] == ["AAAA", "80.00 ± –", "–", "–"]
    assert r"CCCC & \textbf{84.20 $\pm$ 0.51} & 25.6 \\" in to_latex(TYPED)  # links are of no use on paper
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(to_rich(TYPED), crop=False)
    assert "84.20 ± 0.51" in console.export_text()


def test_programs_get_the_numbers_of_the_same_table():
    rows = list(csv.DictReader(io.StringIO(to_csv(TYPED))))
    assert rows[0] == {"cell": "CCCC", "mean": "84.2049", "half_width": "0.5149", "params": "25557032", "macs": "7"}
    assert rows[1] == {"cell": "AAAA", "mean": "80.0", "half_width": "", "params": "", "macs": ""}
    assert rows[2] == {"cell": "CCAA", "mean": "", "half_width": "", "params": "3", "macs": ""}


def test_text_that_looks_like_an_interval_is_none():
    """HTML took every text apart at ` ± `."""
    document = Document("kind", "title", "", "", (), (Chapter("Tables", (TYPED,)),))
    page = to_html(document)
    assert page.count('<span class="mean">') == 2
    assert '<span class="mean">84.20</span> ± <span class="half-width">0.51</span>' in page
    assert ">3 ± 4<" in page
    assert '<a href="r/">0</a>' in page
