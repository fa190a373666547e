"""Cells beside the rows of the paper that have the same network, where a comparison means anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from sasa_cli.paper.tables import PAPER_ROWS, PaperRow
from sasa_cli.rendering.document import Block, Note, Notes
from sasa_cli.rendering.table import ABSENT, Column, Filled, Number, Table, assemble, for_programs
from sasa_cli.reporting.evidence.cells import Cell, Score
from sasa_cli.reporting.evidence.statistics import Measure
from sasa_cli.reporting.pages.intervals import interval, interval_names
from sasa_cli.spec import ModelSpec

IMAGE_SIZE, NUM_CLASSES, DATA = 224, 1000, "imagenet"
TITLE = "Measured against the paper: the same networks, images of 224 px, 1000 classes"
SCORES = {"test": Score("test", "last"), "held-out": Score("val", "last")}


@dataclass(frozen=True)
class Counterpart:
    """A cell and a row of the paper with its network."""

    cell: Cell
    row: PaperRow

    @property
    def top1(self) -> Measure | None:
        """On the row's own kind of split; None for runs on other images than the paper's."""
        on_imagenet = self.cell.spec is not None and self.cell.spec.data.name == DATA
        return self.cell.top1(SCORES[self.row.split]) if on_imagenet else None


def counterparts(cells: Sequence[Cell]) -> list[Counterpart]:
    """Every cell with every row that has its network at the paper's size of images and number of classes."""
    return [
        Counterpart(cell, row)
        for cell in cells
        if cell.spec is not None and cell.spec.data.image_size == IMAGE_SIZE and _classes(cell) == {NUM_CLASSES}
        for row in PAPER_ROWS
        if _network(row.model) == _network(cell.spec.model)
    ]


def paper_comparison(cells: Sequence[Cell]) -> list[Block]:
    """The table of matches and what keeps its numbers from being comparable, or why there is no table."""
    found = counterparts(cells)
    if not found:
        return [Notes((Note(_why_none(cells)),))] if any(cell.records for cell in cells) else []
    return [comparison_table(found), Notes(tuple(map(Note, _caveats(found))))]


def comparison_table(found: Sequence[Counterpart]) -> Table:
    """Ours beside the paper's; accuracies on the same kind of split only."""
    rows, cells, tops = [each.row for each in found], [each.cell for each in found], [each.top1 for each in found]
    params_here = [Number(cell.params, f"{cell.params / 1e6:.2f}") for cell in cells]
    params_paper = [Number(row.params, ABSENT if row.params is None else f"{row.params:.1f}") for row in rows]
    flops_here = [Number(2 * cell.macs, f"{2 * cell.macs / 1e9:.2f}") for cell in cells]
    columns: list[Filled] = [
        (Column("Cell", "left", names=("cell",)), [cell.label for cell in cells]),
        (Column("Paper", "left", names=()), [f"Table {row.table}, {row.row}" for row in rows]),
        for_programs("table", [row.table for row in rows]),
        for_programs("row", [row.row for row in rows]),
        (Column("Split", "left", names=("split",)), [row.split for row in rows]),
        for_programs("n", [top.n if top else 0 for top in tops]),
        (Column("Top-1 here (%)", names=interval_names("top1")), [interval(top) for top in tops]),
        (Column("Top-1 paper (%)", names=("top1_paper",)), [Number(row.top1, f"{row.top1:.1f}") for row in rows]),
        (Column("Parameters here (M)", names=("params",)), params_here),
        (Column("… paper", names=("params_paper_millions",)), params_paper),
        (Column("FLOPs here (G)", names=("flops",)), flops_here),
        (Column("… paper", names=("flops_paper_billions",)), [Number(row.flops, f"{row.flops:.1f}") for row in rows]),
    ]
    return assemble(TITLE, columns)


def _network(model: ModelSpec) -> ModelSpec:
    """What is built, whatever computes it."""
    canonical = model.canonical(IMAGE_SIZE)
    return canonical.model_copy(update={"attention": canonical.attention.model_copy(update={"backend": "auto"})})


def _classes(cell: Cell) -> set[int]:
    return {record.data.classes for record in cell.records if record.data}


def _why_none(cells: Sequence[Cell]) -> str:
    trained = [cell for cell in cells if cell.spec is not None and cell.records]
    if not trained:
        return "There is no comparison with the paper: no finished run has a readable spec.yaml."
    used = sorted(
        {
            f"{cell.spec.data.name} at {cell.spec.data.image_size} px with {classes} classes"
            for cell in trained
            if cell.spec is not None
            for classes in _classes(cell)
        }
    )
    here = "; ".join(used)
    if all(
        cell.spec is None or cell.spec.data.image_size != IMAGE_SIZE or _classes(cell) != {NUM_CLASSES}
        for cell in trained
    ):
        return (
            "There is no comparison with the paper: its accuracies are of ImageNet at 224 px with 1000 classes, the "
            f"runs here are of {here}. `sasa count-flops --paper` sets parameters and FLOPs of its networks beside it."
        )
    return f"There is no comparison with the paper: none of these networks is in its tables (runs here: {here})."


def _caveats(found: Sequence[Counterpart]) -> list[str]:
    sentences = [
        "Tables 3 and 5 of the paper were measured on images held out of the training set and stand beside val here; "
        "all others on ImageNet's validation set, which is test here. The two are never mixed: the same network has "
        "80.2 % on the former and 77.4 % on the latter.",
        "FLOPs here count no elementwise work; the paper does not state its rule and prints up to 2 % more or less.",
    ]
    others = sorted({match.cell.spec.data.name for match in found if match.cell.spec} - {DATA})
    if others:
        sentences.append(f"No accuracies beside those of the paper for runs on other images: {', '.join(others)}.")
    recipes = sorted(
        {
            f"{match.cell.spec.recipe.epochs} epochs with batches of {match.cell.spec.recipe.batch_size}"
            for match in found
            if match.cell.spec and match.top1
        }
    )
    if recipes:
        sentences.append(
            f"The paper trains for 130 epochs with batches of 4096 and keeps a moving average; here: "
            f"{'; '.join(recipes)}. Val here is the share of the training images that the experiment names; the "
            "paper's is 4 %."
        )
    return sentences
