"""Differences between cells as tables: for readers, and unrounded for programs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sasa_cli.rendering.document import LinkedTable
from sasa_cli.rendering.numbers import data_column, p_text, percent, points
from sasa_cli.rendering.table import Column, Table
from sasa_cli.reporting.evidence.cells import HEADLINE, Cell
from sasa_cli.reporting.evidence.comparisons import Comparison, Family, against_best, against_reference
from sasa_cli.reporting.evidence.material import Material, Part
from sasa_cli.reporting.evidence.statistics import half_width_with_another
from sasa_cli.reporting.pages.intervals import signed_interval
from sasa_cli.reporting.pages.tables import Filled, assemble

DIFFERENCES_TITLE = "Differences of test top-1 (last epoch) in points ± 95 % interval, paired by seed"


@dataclass(frozen=True)
class Against:
    """The two families of comparisons within an experiment."""

    part: Part
    reference: Family | None
    best: Family | None
    """None where the best cell is the reference."""

    @property
    def families(self) -> list[tuple[str, Family]]:
        named = (("reference", self.reference), ("best", self.best))
        return [(name, family) for name, family in named if family is not None]


def families_of(part: Part) -> Against:
    """All comparisons that the report shows of an experiment."""
    reference, best = against_reference(part.cells), against_best(part.cells)
    same = reference is not None and best is not None and reference.target is best.target
    return Against(part, reference, None if same else best)


def family_table(name: str, family: Family, experiment: str = "") -> LinkedTable:
    """Every cell against one; cells that cannot be told apart are marked."""
    which = "the reference" if name == "reference" else "the best cell"
    comparisons = family.comparisons
    columns = [
        (Column("Cell", "left"), [item.first.label for item in comparisons]),
        (Column("n"), [str(item.n) for item in comparisons]),
        *_test_columns(comparisons),
        (Column("Verdict", "left"), [item.verdict for item in comparisons]),
    ]
    title = f"{experiment}Against {which}, {family.target.label}: test top-1 (last epoch) minus its, in points, by seed"
    return LinkedTable(assemble(title, columns))


def seeds_table(cells: Sequence[Cell], title: str) -> LinkedTable:
    """How much one more seed is expected to narrow each cell's interval; the largest gain first."""
    rows = []
    for cell in cells:
        found = cell.top1(HEADLINE)
        if found is not None:
            now, then = found.half_width, half_width_with_another(found)
            gain = None if now is None or then is None else now - then
            rows.append((cell.label, str(found.n), percent(now), percent(then), percent(gain), gain))
    rows.sort(key=lambda row: float("-inf") if row[-1] is None else -row[-1])
    headers = (Column("Cell", "left"), Column("n"), Column("± now"), Column("± with one more"), Column("Gain"))
    return LinkedTable(Table(title, headers, tuple(row[:-1] for row in rows)))


def differences_table(groups: Sequence[Against]) -> Table:
    """All families in one table, for paper."""
    rows = _rows(groups)
    items = [item for *_, item in rows]
    columns: list[Filled] = [
        *([(Column("Experiment", "left"), [row[0] for row in rows])] if len(groups) > 1 else []),
        (Column("Cell", "left"), [item.first.label for item in items]),
        (Column("Against", "left"), [f"{item.second.label} ({row[1]})" for row, item in zip(rows, items, strict=True)]),
        (Column("n"), [str(item.n) for item in items]),
        *_test_columns(items),
        (Column("Verdict", "left"), [item.verdict for item in items]),
    ]
    return assemble(DIFFERENCES_TITLE, columns)


def differences_data(groups: Sequence[Against]) -> Table:
    """A row for each comparison, unrounded."""
    rows = _rows(groups)
    items = [item for *_, item in rows]
    found = [item.difference for item in items]
    columns = [
        data_column("first", [item.first.label for item in items]),
        data_column("second", [item.second.label for item in items]),
        data_column("experiment", [row[0] for row in rows]),
        data_column("against", [row[1] for row in rows]),
        data_column("n", [item.n for item in items]),
        data_column("difference", [each.mean if each else None for each in found]),
        data_column("half_width", [each.half_width if each else None for each in found]),
        data_column("p", [each.p_value if each else None for each in found]),
        data_column("p_holm", [item.p_holm for item in items]),
        data_column("corrected_for", [item.family for item in items]),
        data_column("detectable", [item.detectable() for item in items]),
        data_column("detectable_corrected", [item.detectable(corrected=True) for item in items]),
        data_column("verdict", [item.verdict for item in items]),
    ]
    return assemble("differences", columns)


def all_families(material: Material) -> list[Against]:
    """Of every experiment of the report."""
    return [families_of(part) for part in material.parts]


def _rows(groups: Sequence[Against]) -> list[tuple[str, str, Comparison]]:
    return [
        (group.part.name, name, item)
        for group in groups
        for name, family in group.families
        for item in family.comparisons
    ]


def _test_columns(items: Sequence[Comparison]) -> list[Filled]:
    found = [item.difference for item in items]
    return [
        (Column("Difference"), [signed_interval(each) for each in found]),
        (Column("p"), [p_text(each.p_value if each else None) for each in found]),
        (Column("p (Holm)"), [p_text(item.p_holm) for item in items]),
        (Column("Could show"), [points(item.detectable()) for item in items]),
        (Column("… corrected"), [points(item.detectable(corrected=True)) for item in items]),
    ]
