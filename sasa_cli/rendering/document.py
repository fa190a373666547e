"""What a report says, before it is written as markdown or HTML: chapters of notes, tables and figures."""

from dataclasses import dataclass

from sasa_cli.rendering.table import Link, Table


@dataclass(frozen=True)
class Note:
    """A sentence, and the file that it is about."""

    text: str
    link: Link | None = None
    lead: str = ""
    """Words in front, set in bold."""


@dataclass(frozen=True)
class Notes:
    """Sentences that stand together; `warning` for what a reader must know before the numbers."""

    items: tuple[Note, ...]
    warning: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing, as vectors and as pixels."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    alt: str
    """The plotted numbers in words, for those who cannot see them."""
    svg: str
    png: bytes


Block = Notes | Table | Figure


@dataclass(frozen=True)
class Chapter:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The whole report of one experiment, or of several."""

    kind: str
    """What it is a report of."""
    title: str
    description: str
    headline: str
    """What was found, in one sentence; empty where nothing has finished."""
    facts: tuple[tuple[str, str], ...]
    chapters: tuple[Chapter, ...]
