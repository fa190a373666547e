"""A table of typed entries, which each format renders once: `markdown`, `latex`, `html`, `terminal` and `csv`.

An entry knows the number behind what a reader sees, so that programs get it unrounded from the same table. Text is
plain: each renderer escapes what its format would read as markup.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

ABSENT = "–"
Value = str | int | float | None


@dataclass(frozen=True)
class Number:
    """A count, a percentage, a p value: the number, and how it is written."""

    value: int | float | None
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value,)


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95 % interval, as `84.20 ± 0.51`; with one value `84.20 ± –`."""

    mean: float | None
    half_width: float | None
    signed: bool = False

    @property
    def mean_text(self) -> str:
        if self.mean is None:
            return ABSENT
        return signed(self.mean) if self.signed else f"{self.mean:.2f}"

    @property
    def half_width_text(self) -> str:
        return ABSENT if self.half_width is None else f"{self.half_width:.2f}"

    def __str__(self) -> str:
        return self.mean_text if self.mean is None else f"{self.mean_text} ± {self.half_width_text}"

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.mean, self.half_width)


@dataclass(frozen=True)
class Link:
    """Text that leads to a place, named as seen from the page's folder."""

    text: str
    url: str

    @property
    def href(self) -> str:
        """The place as it stands in a page: no letter of a name can end the link or begin another."""
        return quote(self.url, errors="surrogateescape")


@dataclass(frozen=True)
class Links:
    """Places, beside each other."""

    items: tuple[Link, ...]

    def __str__(self) -> str:
        return ", ".join(link.text for link in self.items)

    @property
    def values(self) -> tuple[Value, ...]:
        return (str(self),)


@dataclass(frozen=True)
class Strong:
    """An entry that stands out."""

    entry: Number | Interval | str

    def __str__(self) -> str:
        return str(self.entry)

    @property
    def values(self) -> tuple[Value, ...]:
        return values_of(self.entry)


Entry = str | Number | Interval | Links | Strong


def values_of(entry: Entry) -> tuple[Value, ...]:
    """What a program gets of an entry; a mean and its half-width are two."""
    return (entry,) if isinstance(entry, str) else entry.values


@dataclass(frozen=True)
class Column:
    """A column's header, the side on which its entries line up, and its names for programs."""

    header: str
    """Empty for a column that is for programs only."""
    align: Literal["left", "right"] = "right"
    sentences: bool = False
    """Its entries are too long for one line; LaTeX has to be told so."""
    leads: bool = False
    """Its entries lead somewhere and say little by themselves: it is left out on paper."""
    names: tuple[str, ...] | None = None
    """In CSV, one for each value of an entry; none for a column for readers only. Absent: the header."""

    @property
    def csv_names(self) -> tuple[str, ...]:
        return (self.header,) if self.names is None else self.names


@dataclass(frozen=True)
class Table:
    """A table with one entry for each column in each row.

    Raises:
        ValueError: A row has more or fewer entries than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    sums: frozenset[int] = frozenset()
    """Which rows sum up others, so that a program which adds up a column would count everything twice."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(self.columns)} columns, but {len(row)} entries in row {row}")

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(column.header for column in self.columns)

    def kept(self, columns: Iterable[Column]) -> "Table":
        """With these of its columns only."""
        wanted = list(columns)
        places = [place for place, column in enumerate(self.columns) if column in wanted]
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return Table(self.title, tuple(self.columns[place] for place in places), rows, self.notes, self.sums)

    @property
    def seen(self) -> "Table":
        """As readers see it, without the columns for programs."""
        return self.kept(column for column in self.columns if column.header)


Filled = tuple[Column, Sequence[Entry]]


def assemble(title: str, columns: Iterable[Filled], notes: Sequence[str] = (), sums: Iterable[int] = ()) -> Table:
    """A table from its columns, each with its entries."""
    filled = list(columns)
    rows = zip(*(entries for _, entries in filled), strict=True)
    return Table(title, tuple(column for column, _ in filled), tuple(rows), tuple(notes), frozenset(sums))


def for_programs(name: str, values: Sequence[int | float | str | None]) -> Filled:
    """A column that no reader sees."""
    return Column("", names=(name,)), [value if isinstance(value, str) else Number(value, "") for value in values]


def signed(value: float) -> str:
    """Two decimals with a sign; no sign where they are zero."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text
