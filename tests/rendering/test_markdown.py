"""What a text holds is what a reader of the Markdown sees: no letter of it is markup."""

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from sasa_cli.rendering.document import Chapter, Document, Note, Notes
from sasa_cli.rendering.markdown import to_markdown, to_markdown_report
from sasa_cli.rendering.table import Column, Link, Links, Strong, Table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "[l](javascript:alert(1))",
    "![i](http://x.y/z.png)",
    "[l]: http://x.y",
    "_emphasis_ and __strong__, *both* __",
    "snake_case_name, _leading, trailing_",
    "~~gone~~ ~sub~",
    "$x^2$ and $$y$$ for 5$",
    "&lt;b&gt; &copy; &#65; a & b",
    "<b>bold</b> <!-- hidden --> <http://x.y>",
    "`code` ``more``",
    r"back\slash \[ \_ \\",
    "# heading",
    "> quote",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "---",
    "===",
    "    indented code",
    "pipe | in | a | table",
    "[/red] [bold]rich[/bold]",
    "- [ ] task",
]


def text_of(tokens: list[Token]) -> list[str]:
    """The text of each inline block; it must hold nothing but text."""
    texts = []
    for token in tokens:
        for child in token.children or ():
            allowed = ("text", "text_special", "strong_open", "strong_close", "link_open", "link_close")
            assert child.type in allowed, (child.type, child.content)
        if token.type == "inline":
            texts.append("".join(child.content for child in token.children or ()))
    return texts


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_says_what_it_holds(text: str) -> None:
    columns = (Column(text, "left"), Column("Strong"), Column("Link"))
    rows = [(text, Strong(text), Links((Link(text, "runs/a b)(c_[d]<e>&f#g?h%i"),)))]
    tokens = PARSER.parse(to_markdown(Table(text, columns, rows, notes=(text,))))
    shown = text.strip()
    assert text_of(tokens) == [shown, shown, "Strong", "Link", shown, shown, shown, shown]
    links = [child for token in tokens for child in token.children or () if child.type == "link_open"]
    assert [link.attrs["href"] for link in links] == ["runs/a%20b%29%28c_%5Bd%5D%3Ce%3E%26f%23g%3Fh%25i"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_report_says_what_it_holds(text: str) -> None:
    notes = Notes((Note(text), Note(text, lead="Lead")))
    document = Document(
        kind="report",
        title=text,
        description=text,
        headline=text,
        facts=((text, text),),
        chapters=(Chapter(text, (notes,)),),
    )
    tokens = PARSER.parse(to_markdown_report(document))
    shown = text.strip()
    assert text_of(tokens) == [shown, shown, shown, f"{shown}: {shown}", shown, shown, f"Lead. {shown}"]
    kinds = [token.type for token in tokens if token.type.endswith("_open")]
    assert kinds.count("heading_open") == 2
    assert kinds.count("list_item_open") == 3
    assert "blockquote_open" not in kinds
