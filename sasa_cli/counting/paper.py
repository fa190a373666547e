"""Each printed number of the paper beside what this package counts for the same network. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Literal

from sasa_cli.counting.conventions import CONVENTIONS, EXECUTED, PLAIN, Convention
from sasa_cli.counting.macs import ModelCount, count_model
from sasa_cli.paper.tables import COCO_ROWS, PAPER_ROWS, CocoRow, PaperRow, Quantity, Split
from sasa_cli.spec import ModelSpec, StemSpec

IMAGENET_SIZE, IMAGENET_CLASSES = 224, 1000
COCO_SIZE = 640  # side of the crops that the paper trains its detectors on
UNIT: dict[Quantity, Decimal] = {"params": Decimal(10**6), "flops": Decimal(10**9)}
DEFAULT_MIXTURES = StemSpec().mixtures

EQUAL = "equal as printed"
TRUNCATED = "truncated"
WITHIN_ROUNDING = "equal within rounding"
NOT_COMPUTED = "not computed: needs training"
BACKBONE_ONLY = "not comparable: backbone only"
Basis = Literal["network", "backbone", "difference of backbones"]


@dataclass(frozen=True)
class PrintedNumber:
    """One printed number and ours, both in the paper's unit: millions, billions or per cent."""

    table: int
    row: str
    column: Quantity
    paper: float
    ours: Decimal | None
    """Exact; None for an accuracy, which no counting gives."""
    convention: str
    """Of FLOPs; parameters are the same in all and stand under plain; none for accuracies."""
    verdict: str
    split: Split | None = None
    """The images behind an accuracy."""
    single_source: bool = False
    """Whether no second text of the paper confirms the printed digits."""
    basis: Basis = "network"
    """What `ours` is of."""

    @property
    def difference(self) -> Decimal | None:
        """Ours minus the paper's; None where the two are not the same thing."""
        if self.ours is None or self.basis == "backbone":
            return None
        return self.ours - Decimal(str(self.paper))


def verdict(paper: float, ours: Decimal) -> str:
    """Whether `ours`, cut to the digits that the paper prints, gives them.

    Returns:
        "equal as printed" where it rounds to them, "truncated" where cutting off gives them, else "differs by x".
    """
    printed = Decimal(str(paper))
    step = Decimal(1).scaleb(int(printed.as_tuple().exponent))
    if ours.quantize(step, ROUND_HALF_UP) == printed:
        return EQUAL
    if ours.quantize(step, ROUND_DOWN) == printed:
        return TRUNCATED
    return f"differs by {ours - printed:+.3f}"


def compare_with_paper(mixtures: int = DEFAULT_MIXTURES) -> list[PrintedNumber]:
    """Every cell of Tables 1 to 7, in the order of the paper; Table 2 as far as its backbones go.

    Args:
        mixtures: m of the attention stem's spatially aware values, which the paper does not state.
    """
    cells = [cell for row in PAPER_ROWS for cell in _cells_of_row(row, mixtures)]
    return sorted([*cells, *_coco_cells(mixtures)], key=lambda cell: cell.table)


def _cells_of_row(row: PaperRow, mixtures: int) -> Iterator[PrintedNumber]:
    model = _with_mixtures(row.model, mixtures)
    count = count_model(model, image_size=IMAGENET_SIZE, num_classes=IMAGENET_CLASSES)

    def counted(column: Quantity, paper: float, convention: Convention, number: int) -> PrintedNumber:
        ours = number / UNIT[column]
        doubt = column in row.single_source
        return PrintedNumber(
            row.table, row.row, column, paper, ours, convention.name, verdict(paper, ours), single_source=doubt
        )

    if row.params is not None:
        yield counted("params", row.params, PLAIN, count.params)
    for convention in CONVENTIONS:
        yield counted("flops", row.flops, convention, convention.flops(model, count))
    doubt = "top1" in row.single_source
    yield PrintedNumber(row.table, row.row, "top1", row.top1, None, "none", NOT_COMPUTED, row.split, doubt)


def _with_mixtures(model: ModelSpec, mixtures: int) -> ModelSpec:
    if model.stem.kind == "conv" or model.stem.values != "spatial":
        return model
    return model.model_copy(update={"stem": model.stem.model_copy(update={"mixtures": mixtures})})


def _coco_cells(mixtures: int) -> Iterator[PrintedNumber]:
    """Table 2: whole detectors as printed, our backbones beside them, and what one backbone costs less than another.

    Where heads and pyramid are the same, they cancel out of a difference: there the paper and a count of backbones
    must agree, but for the rounding of two printed numbers.
    """
    ours = {row.row: _backbone_costs(row, mixtures) for row in COCO_ROWS}
    for row in COCO_ROWS:
        for (column, convention), number in ours[row.row].items():
            paper = row.params if column == "params" else row.flops
            yield PrintedNumber(2, row.row, column, paper, number, convention, BACKBONE_ONLY, basis="backbone")
    for first, second in _pairs():
        for (column, convention), number in ours[first.row].items():
            printed = _printed_difference(first, second, column)
            difference = number - ours[second.row][column, convention]
            name = f"{first.row} minus {second.backbone}"
            told = _verdict_of_difference(column, printed, difference)
            yield PrintedNumber(
                2, name, column, float(printed), difference, convention, told, basis="difference of backbones"
            )


def _pairs() -> list[tuple[CocoRow, CocoRow]]:
    """Rows of Table 2 that differ in nothing but the backbone."""
    return [
        (first, second)
        for index, first in enumerate(COCO_ROWS)
        for second in COCO_ROWS[index + 1 :]
        if first.heads == second.heads
    ]


def _backbone_costs(row: CocoRow, mixtures: int) -> dict[tuple[Quantity, str], Decimal]:
    """Of the network without its classifier, by column and convention."""
    model = _with_mixtures(row.model, mixtures)
    whole = count_model(model, image_size=COCO_SIZE, num_classes=IMAGENET_CLASSES)
    layers = tuple(layer for layer in whole.layers if layer.stage != "classifier")
    backbone = ModelCount(whole.model, whole.image, whole.num_classes, layers)
    costs: dict[tuple[Quantity, str], Decimal] = {("params", PLAIN.name): backbone.params / UNIT["params"]}
    for convention in (PLAIN, EXECUTED):
        costs["flops", convention.name] = convention.flops(model, backbone) / UNIT["flops"]
    return costs


def _printed_difference(first: CocoRow, second: CocoRow, column: Quantity) -> Decimal:
    one, other = (row.params if column == "params" else row.flops for row in (first, second))
    return Decimal(str(one)) - Decimal(str(other))


def _verdict_of_difference(column: Quantity, paper: Decimal, ours: Decimal) -> str:
    step = Decimal("0.1") if column == "params" else Decimal(1)  # of a printed digit: half of it for each number
    return WITHIN_ROUNDING if abs(ours - paper) <= step else f"differs by {ours - paper:+.3f}"
