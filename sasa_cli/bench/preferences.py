"""Where what was timed speaks against the table of backends: one that it prefers was slower than one below it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from sasa_cli.attention.choice import candidates
from sasa_cli.bench.contestants import Workload
from sasa_cli.bench.result import BenchResult, Row, where
from sasa_cli.rendering.table import Column, Entry, Number, Table


@dataclass(frozen=True)
class Contradiction:
    """A line of the table, and a row of times for each of two backends."""

    preferred: Row
    faster: Row

    @property
    def ratio(self) -> float:
        """Time of the preferred backend over that of the faster one."""
        return (self.preferred.median_ms or 0.0) / (self.faster.median_ms or 1.0)


def contradictions(result: BenchResult) -> list[Contradiction]:
    """For each call and each preferred backend the fastest of those below it, where their quartiles are apart."""
    found = []
    for rows in _calls(result):
        preferences = candidates(_workload(rows, result).problem)
        order = [rows[backend.name] for backend in preferences if backend.name in rows]
        for index, preferred in enumerate(order):
            below = min(order[index + 1 :], key=lambda row: row.median_ms or 0.0, default=None)
            if below is not None and (below.high_ms or 0.0) < (preferred.low_ms or 0.0):
                found.append(Contradiction(preferred, below))
    return found


def contradiction_table(found: list[Contradiction]) -> Table:
    """A row for each."""
    columns = (
        *(Column("the table prefers", "left"), Column("to", "left"), Column("for", "left")),
        *(Column("ms"), Column("ms of the other"), Column("ratio")),
    )
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            *(each.preferred.name, each.faster.name, where(each.preferred)),
            *map(_number, (each.preferred.median_ms, each.faster.median_ms, each.ratio)),
        )
        for each in found
    )
    note = "attention/choice.py holds the table; with these figures as evidence its lines would stand otherwise."
    return Table("Lines of the table of backends that these figures contradict", columns, rows, (note,))


def _calls(result: BenchResult) -> Iterator[dict[str, Row]]:
    """The rows of each call that have a time, by name."""
    calls: dict[str, dict[str, Row]] = {}
    for row in result.rows:
        if row.median_ms is not None:
            calls.setdefault(where(row), {})[row.name] = row
    return iter(calls.values())


def _workload(rows: dict[str, Row], result: BenchResult) -> Workload:
    row = next(iter(rows.values()))
    dtype, device = getattr(torch, row.dtype), torch.device(result.environment["device_type"])
    return Workload(row.shape, row.spatial_extent, result.heads, dtype, device)


def _number(value: float | None) -> Number:
    return Number(value, "" if value is None else f"{value:.2f}")
