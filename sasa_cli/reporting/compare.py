"""Where a report on disk differs from what the run folders give, in words."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

DRAWN_BY = re.compile(rb"Matplotlib v(?:ersion)?([\d.]+\w*)")
DRAWING = re.compile(rb"<svg .*?</svg>", re.DOTALL)
EXCERPT = 100


def compare_files(stored: Mapping[str, bytes], derived: Mapping[str, bytes]) -> list[str]:
    """One line for each difference, with the file's name and what differs.

    Another version of matplotlib draws the same numbers with other bytes. Figures that were drawn by another one are
    therefore not compared; all that they show is in the tables, which always are.
    """
    missing = [f"{name}: missing" for name in derived if name not in stored]
    stale = [f"{name}: not part of the report of these results" for name in stored if name not in derived]
    foreign = any(_drawn_elsewhere(stored[name], derived[name]) for name in stored.keys() & derived.keys())
    changed = [
        f"{name}: {difference}"
        for name in sorted(stored.keys() & derived.keys())
        for difference in _differences(name, stored[name], derived[name], foreign=foreign)
    ]
    return [*missing, *stale, *changed]


def _drawn_elsewhere(stored: bytes, derived: bytes) -> bool:
    old, new = DRAWN_BY.search(stored), DRAWN_BY.search(derived)
    return old is not None and new is not None and old[1] != new[1]


def _differences(name: str, stored: bytes, derived: bytes, *, foreign: bool) -> Iterator[str]:
    if stored == derived:
        return
    if name.endswith((".svg", ".png")):
        if not _drawn_elsewhere(stored, derived):
            yield "differs from what the results give"
    elif name.endswith(".csv"):
        yield from _table_differences(stored.decode(errors="replace"), derived.decode())
    else:
        if foreign:
            stored, derived = (DRAWING.sub(b"", content) for content in (stored, derived))
        yield from _line_differences(stored.decode(errors="replace"), derived.decode())


def _table_differences(stored: str, derived: str) -> Iterator[str]:
    """Each cell that differs, by the first column of its row and the name of its column."""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (stored, derived))
    if [row[:1] for row in old] != [row[:1] for row in new] or old[0] != new[0]:
        yield "has other rows or columns than the results give"
        return
    for old_row, new_row in zip(old, new, strict=True):
        for column, was, is_now in zip_longest(new[0], old_row, new_row, fillvalue=""):
            if was != is_now:
                yield f"{new_row[0]}, {column}: says {was or 'nothing'}, the results give {is_now or 'nothing'}"


def _line_differences(stored: str, derived: str) -> Iterator[str]:
    """Each line that differs, from the place where it begins to."""
    for number, (old, new) in enumerate(zip_longest(stored.splitlines(), derived.splitlines(), fillvalue=""), 1):
        if old != new:
            start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
            was, is_now = (line[max(0, start - 20) :][:EXCERPT] for line in (old, new))
            yield f"line {number}: says {was!r}, the results give {is_now!r}"
