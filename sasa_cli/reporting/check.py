"""Where a report on disk differs from what the run folders give, in words."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import zip_longest

DRAWN_BY = re.compile(rb"Matplotlib v(?:ersion)?([\d.]+\w*)")
INLINE_DRAWING = re.compile(rb"<svg .*?</svg>", re.DOTALL)
SHOWN = 10  # differences of one file
EXCERPT = 100  # characters of a line


def compare_files(stored: Mapping[str, bytes], derived: Mapping[str, bytes]) -> list[str]:
    """One line for each difference, with the file's name and what differs.

    Another version of matplotlib draws the same numbers with other bytes. Figures that were drawn by another one are
    therefore not compared; all that they show is in the tables, which always are.
    """
    missing = [f"{name}: missing" for name in derived if name not in stored]
    stale = [f"{name}: not part of the report of these results" for name in stored if name not in derived]
    common = sorted(stored.keys() & derived.keys())
    foreign = any(_drawn_elsewhere(stored[name], derived[name]) for name in common)
    changed = []
    for name in common:
        found = list(_differences(name, stored[name], derived[name], foreign=foreign))
        more = [f"{len(found) - SHOWN} more differences"] if len(found) > SHOWN else []
        changed += [f"{name}: {difference}" for difference in found[:SHOWN] + more]
    return [*missing, *stale, *changed]


def _drawn_elsewhere(stored: bytes, derived: bytes) -> bool:
    old, new = DRAWN_BY.search(stored), DRAWN_BY.search(derived)
    return old is not None and new is not None and old[1] != new[1]


def _differences(name: str, stored: bytes, derived: bytes, *, foreign: bool) -> Iterator[str]:
    if stored == derived:
        return
    if name.endswith((".svg", ".png")):
        if not _drawn_elsewhere(stored, derived):
            yield "another drawing than the results give"
    elif name.endswith(".csv"):
        yield from _table_differences(stored.decode(errors="replace"), derived.decode())
    else:
        if not foreign and INLINE_DRAWING.findall(stored) != INLINE_DRAWING.findall(derived):
            yield "other drawings than the results give"
        texts = (INLINE_DRAWING.sub(b"", content).decode(errors="replace") for content in (stored, derived))
        yield from _line_differences(*texts)


def _table_differences(stored: str, derived: str) -> Iterator[str]:
    """Each cell that differs, by the first column of its row and the name of its column."""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (stored, derived))
    if [row[:1] for row in old] != [row[:1] for row in new] or old[0] != new[0]:
        yield "other rows or columns than the results give"
        return
    for old_row, new_row in zip(old, new, strict=True):
        for column, was, is_now in zip_longest(new[0], old_row, new_row, fillvalue=""):
            if was != is_now:
                yield f"{new_row[0]}, {column}: says {was or 'nothing'}, the results give {is_now or 'nothing'}"


def _line_differences(stored: str, derived: str) -> Iterator[str]:
    """Each place where lines differ, from the character where the first of them begins to."""
    old, new = stored.splitlines(), derived.splitlines()
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        was, is_now = (lines[0] if lines else "" for lines in (old[start:end], new[new_start:new_end]))
        same = next((i for i, (a, b) in enumerate(zip(was, is_now, strict=False)) if a != b), 0)
        excerpts = [line[max(0, same - 20) :][:EXCERPT] for line in (was, is_now)]
        yield f"line {start + 1}: says {excerpts[0]!r}, the results give {excerpts[1]!r}"
