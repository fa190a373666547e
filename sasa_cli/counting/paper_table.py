"""The paper's numbers beside ours, as a table and as plain data. Imports no torch."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sasa_cli.counting.conventions import CONVENTIONS, Convention
from sasa_cli.counting.paper import COCO_SIZE, EQUAL, TRUNCATED, PrintedNumber
from sasa_cli.paper.tables import Quantity
from sasa_cli.rendering.numbers import whole
from sasa_cli.rendering.table import Column, Filled, Number, Table, assemble, for_programs

TITLE = "Stand-Alone Self-Attention in Vision Models (Ramachandran et al., NeurIPS 2019) beside this package"
NAMES: dict[Quantity, str] = {"params": "parameters (M)", "flops": "FLOPs (B, 2 x MACs)", "top1": "top-1 (%)"}
SPLITS = (
    "Accuracies of Tables 1, 4, 6 and 7 (test: ImageNet's validation set) and of Tables 3 and 5 (held-out: 4 % of its "
    "training set) are of different images and never to be compared: ResNet-50, conv-stem + attention, is 77.4 % on "
    "the former and 80.2 % on the latter."
)
DETECTORS = (
    f"Table 2: RetinaNet is out of reach of this tool. Ours is the backbone at {COCO_SIZE} px without classifier, the "
    "paper's number is of the whole detector. Heads and pyramid cancel out of differences between rows; a difference "
    "counts as equal where the rounding of two printed numbers explains what is left."
)
VERDICTS = (
    f"{EQUAL}: ours rounds to the printed digits; {TRUNCATED}: cutting ours off gives them; differs by: ours minus "
    "the paper's. *: read in one text of the paper only."
)


def paper_payload(cells: Sequence[PrintedNumber], mixtures: int) -> dict[str, Any]:
    """What `count-flops --paper --json` prints, in the paper's units: millions, billions, per cent."""
    return {
        "mixtures": mixtures,
        "conventions": [
            {"convention": each.name, "meaning": each.meaning, "fitted": each.fitted, **_agreement(cells, each)}
            for each in CONVENTIONS
        ],
        "cells": [_payload_of(cell) for cell in cells],
        "notes": [VERDICTS, SPLITS, DETECTORS],
    }


def paper_table(cells: Sequence[PrintedNumber], mixtures: int) -> Table:
    """A row for each printed number and convention.

    Args:
        cells: In the order of the paper.
        mixtures: m of the attention stem, for the notes.
    """
    columns: list[Filled] = [
        (Column("Table", "left", names=("table",)), [whole(cell.table) for cell in cells]),
        (Column("Row", "left", names=("row",)), [cell.row for cell in cells]),
        (Column("Column", "left", names=()), [_quantity(cell) for cell in cells]),
        for_programs("column", [cell.column for cell in cells]),
        (Column("Paper", names=("paper",)), [_printed(cell) for cell in cells]),
        (Column("Ours", names=("ours",)), [_number(cell.ours, ".3f") for cell in cells]),
        (Column("Difference", names=("difference",)), [_number(cell.difference, "+.3f") for cell in cells]),
        (Column("Convention", "left", names=()), [_convention(cell) for cell in cells]),
        for_programs("convention", [cell.convention for cell in cells]),
        (Column("Verdict", "left", names=("verdict",)), [cell.verdict for cell in cells]),
        for_programs("split", [cell.split for cell in cells]),
        for_programs("basis", [cell.basis for cell in cells]),
        for_programs("single_source", [str(cell.single_source).lower() for cell in cells]),
    ]
    return assemble(TITLE, columns, _notes(cells, mixtures))


def _payload_of(cell: PrintedNumber) -> dict[str, Any]:
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "paper": cell.paper,
        "ours": None if cell.ours is None else float(cell.ours),
        "difference": None if cell.difference is None else float(cell.difference),
        "convention": cell.convention,
        "verdict": cell.verdict,
        "split": cell.split,
        "basis": cell.basis,
        "single_source": cell.single_source,
    }


def _quantity(cell: PrintedNumber) -> str:
    return NAMES[cell.column] + (f", {cell.split}" if cell.split else "")


def _convention(cell: PrintedNumber) -> str:
    return "-" if cell.convention == "none" else cell.convention


def _printed(cell: PrintedNumber) -> Number:
    marked = f"{cell.paper:.1f}" + ("*" if cell.single_source else "")
    return Number(cell.paper, f"{cell.paper:g}" if cell.paper >= 100 else marked)


def _number(value: Decimal | None, digits: str) -> Number:
    return Number(None, "-") if value is None else Number(float(value), format(value, digits))


def _agreement(cells: Sequence[PrintedNumber], convention: Convention) -> dict[str, Any]:
    """How many printed FLOPs of whole networks a convention gives, and how far off it is at worst."""
    own = [
        cell for cell in cells if (cell.column, cell.convention, cell.basis) == ("flops", convention.name, "network")
    ]
    largest = max(abs(cell.difference) for cell in own if cell.difference is not None)
    equal = sum(cell.verdict == EQUAL for cell in own)
    return {"equal": equal, "of": len(own), "largest_difference": float(largest)}


def _notes(cells: Sequence[PrintedNumber], mixtures: int) -> tuple[str, ...]:
    params = [cell for cell in cells if cell.column == "params" and cell.basis == "network"]
    tally = {told: sum(cell.verdict == told for cell in params) for told in (EQUAL, TRUNCATED)}
    notes = [
        f"Parameters: {tally[EQUAL]} of {len(params)} printed cells {EQUAL}, {tally[TRUNCATED]} {TRUNCATED} "
        "(dense projections without bias, one relative embedding for all heads, no output projection)."
    ]
    for convention in CONVENTIONS:
        found = _agreement(cells, convention)
        fitted = "; fitted to the paper's numbers, so that agreement is no evidence" if convention.fitted else ""
        notes.append(
            f"{convention.name}: {convention.meaning}{fitted}. FLOPs: {found['equal']} of {found['of']} cells {EQUAL}, "
            f"at most {found['largest_difference']:.3f} B off."
        )
    stem = f"Attention stems mix m = {mixtures} values; the paper does not state m (--set model.stem.mixtures=M)."
    return (VERDICTS, *notes, stem, SPLITS, DETECTORS)
