import pytest

from sasa_cli.reporting.check import SHOWN, compare_files

HERE = b"<svg><!-- Matplotlib v3.11.2 --><path d='M 0 1'/></svg>"
ELSEWHERE = b"<svg><!-- Matplotlib v3.10.0 --><path d='M 0 1.1'/></svg>"
PAGE = b"<p>80.2</p>\n<svg >\n<path/></svg>\n"


def test_equal_files_differ_in_nothing() -> None:
    assert compare_files({"a.csv": b"x", "b.svg": HERE}, {"a.csv": b"x", "b.svg": HERE}) == []


def test_missing_and_stale_files_are_named() -> None:
    assert compare_files({"old.csv": b""}, {"new.csv": b""}) == [
        "new.csv: missing",
        "old.csv: not part of the report of these results",
    ]


def test_cells_of_a_table_are_named() -> None:
    stored, derived = b"cell,n,top1\nCCCC,2,\nAAAA,2,81\n", b"cell,n,top1\nCCCC,2,80\nAAAA,3,81\n"
    assert compare_files({"t.csv": stored}, {"t.csv": derived}) == [
        "t.csv: CCCC, top1: says nothing, the results give 80",
        "t.csv: AAAA, n: says 2, the results give 3",
    ]


@pytest.mark.parametrize("stored", [b"", b"cell,n\nCCCC,2\nAAAA,3\n", b"cell,m\nCCCC,2\n"])
def test_another_shape_of_a_table_is_one_difference(stored: bytes) -> None:
    assert compare_files({"t.csv": stored}, {"t.csv": b"cell,n\nCCCC,2\n"}) == [
        "t.csv: other rows or columns than the results give"
    ]


def test_lines_are_quoted_from_where_they_differ() -> None:
    stored = "first\n" + "x" * 500 + " 80.2\nlast\n"
    (line,) = compare_files({"r.md": stored.encode()}, {"r.md": stored.replace("80.2", "80.3").encode()})
    assert line.startswith("r.md: line 2: says 'xxx")
    assert line.endswith("80.2', the results give '" + "x" * 16 + " 80.3'")


def test_a_line_too_many_is_one_difference() -> None:
    assert compare_files({"r.md": b"a\nb\nc\n"}, {"r.md": b"a\nc\n"}) == ["r.md: line 2: says 'b', the results give ''"]


def test_many_differences_are_cut_short() -> None:
    rows = [f"{number},0\n" for number in range(30)]
    stored, derived = ("n,x\n" + "".join(rows), "n,x\n" + "".join(rows).replace(",0", ",1"))
    found = compare_files({"t.csv": stored.encode()}, {"t.csv": derived.encode()})
    assert len(found) == SHOWN + 1
    assert found[-1] == "t.csv: 20 more differences"


def test_another_drawing_is_found() -> None:
    changed = HERE.replace(b"M 0 1", b"M 0 2")
    assert compare_files({"f.svg": changed}, {"f.svg": HERE}) == ["f.svg: another drawing than the results give"]
    page = PAGE.replace(b"<path/>", b"<path />")
    assert compare_files({"r.html": page}, {"r.html": PAGE}) == ["r.html: other drawings than the results give"]


def test_figures_of_another_matplotlib_are_not_compared_but_numbers_are() -> None:
    page = PAGE.replace(b"<path/>", b"<path />")
    derived = {"f.svg": HERE, "r.html": PAGE}
    assert compare_files({"f.svg": ELSEWHERE, "r.html": page}, derived) == []
    changed = page.replace(b"80.2", b"80.3")
    assert compare_files({"f.svg": ELSEWHERE, "r.html": changed}, derived) == [
        "r.html: line 1: says '<p>80.3</p>', the results give '<p>80.2</p>'"
    ]
