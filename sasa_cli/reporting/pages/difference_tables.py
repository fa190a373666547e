"""Differences between cells as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from sasa_cli.rendering.numbers import p_value, percent, points, whole
from sasa_cli.rendering.table import Column, Filled, Table, assemble, for_programs
from sasa_cli.reporting.evidence.cells import HEADLINE, Cell
from sasa_cli.reporting.evidence.comparisons import Comparison, Family, against_best, against_reference
from sasa_cli.reporting.evidence.material import Material, Part
from sasa_cli.reporting.evidence.statistics import half_width_with_another
from sasa_cli.reporting.pages.intervals import signed_interval

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
    reference, best = against_reference(part.cells, part.results.reference), against_best(part.cells)
    same = reference is not None and best is not None and reference.target is best.target
    return Against(part, reference, None if same else best)


def family_table(name: str, family: Family, experiment: str = "") -> Table:
    """Every cell against one; cells that cannot be told apart are marked."""
    which = "the reference" if name == "reference" else "the best cell"
    comparisons = family.comparisons
    columns = [
        (Column("Cell", "left"), [item.first.label for item in comparisons]),
        *_test_columns(comparisons),
    ]
    title = f"{experiment}Against {which}, {family.target.label}: test top-1 (last epoch) minus its, in points, by seed"
    return assemble(title, columns)


def seeds_table(cells: Sequence[Cell], title: str) -> Table:
    """How much one more seed is expected to narrow each cell's interval; the largest gain first."""
    rows = []
    for cell in cells:
        found = cell.top1(HEADLINE)
        if found is not None:
            now, then = found.half_width, half_width_with_another(found)
            gain = None if now is None or then is None else now - then
            rows.append((cell.label, whole(found.n), percent(now), percent(then), percent(gain)))
    rows.sort(key=lambda row: float("-inf") if row[-1].value is None else -row[-1].value)
    headers = (Column("Cell", "left"), Column("n"), Column("± now"), Column("± with one more"), Column("Gain"))
    return Table(title, headers, tuple(rows))


def differences_table(groups: Sequence[Against]) -> Table:
    """All families in one table, for paper and for programs."""
    rows = [
        (group.part.name, name, item)
        for group in groups
        for name, family in group.families
        for item in family.comparisons
    ]
    items = [item for *_, item in rows]
    experiments = [experiment for experiment, *_ in rows]
    columns: list[Filled] = [
        (Column("Cell", "left", names=("first",)), [item.first.label for item in items]),
        for_programs("second", [item.second.label for item in items]),
        (Column("Experiment" if len(groups) > 1 else "", "left", names=("experiment",)), experiments),
        for_programs("against", [name for _, name, _ in rows]),
        (Column("Against", "left", names=()), [f"{item.second.label} ({name})" for _, name, item in rows]),
        *_test_columns(items),
    ]
    return assemble(DIFFERENCES_TITLE, columns)


def all_families(material: Material) -> list[Against]:
    """Of every experiment of the report."""
    return [families_of(part) for part in material.parts]


def _test_columns(items: Sequence[Comparison]) -> list[Filled]:
    found = [item.difference for item in items]
    return [
        (Column("n", names=("n",)), [whole(item.n) for item in items]),
        (Column("Difference", names=("difference", "half_width")), [signed_interval(each) for each in found]),
        (Column("p", names=("p",)), [p_value(each.p_value if each else None) for each in found]),
        (Column("p (Holm)", names=("p_holm",)), [p_value(item.p_holm) for item in items]),
        for_programs("corrected_for", [item.family for item in items]),
        (Column("Could show", names=("detectable",)), [points(item.detectable()) for item in items]),
        (
            Column("… corrected", names=("detectable_corrected",)),
            [points(item.detectable(corrected=True)) for item in items],
        ),
        (Column("Verdict", "left", names=("verdict",)), [item.verdict for item in items]),
    ]
