"""Widths that match a budget, as a table and as plain data. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from sasa_cli.counting.macs import ModelCount
from sasa_cli.experiment.match import BUDGET_NAMES, TOLERANCE, WidthMatch
from sasa_cli.rendering.numbers import counted
from sasa_cli.rendering.table import Column, Filled, Number, Table, assemble, for_programs

WIDTHS = (
    "Widths keep channels even and divisible by the heads (heads of relative attention have an even number of "
    "channels): fewer heads allow more widths. In an experiment: model.match: {budget: ..., to: ..., stages: ...}."
)


def match_payload(matches: Sequence[tuple[WidthMatch, ModelCount]]) -> dict[str, Any]:
    """What `count-flops --match --json` prints: for each model the width, and what it costs beside the other one."""
    return {
        "models": [
            {
                "model": match.count.model,
                "image_size": list(match.count.image[1:]),
                "num_classes": match.count.num_classes,
                "width": match.model.width,
                "budget": match.budget,
                "reached": match.reached,
                "wanted": match.wanted,
                "to": other.model,
                "difference_percent": 100 * match.deviation,
                "matched": _is_near(match),
                "params": match.count.params,
                "flops": 2 * match.count.macs,
                "notes": list(other.notes),
            }
            for match, other in matches
        ]
    }


def match_table(matches: Sequence[tuple[WidthMatch, ModelCount]]) -> Table:
    """A row for each model."""
    widths, others = zip(*matches, strict=True)
    counts = [match.count for match in widths]
    budget = widths[0].budget
    near = f"within {100 * TOLERANCE:g} %"
    is_near = [_is_near(match) for match in widths]
    cost = Column("Parameters" if budget == "params" else "FLOPs (2 x MACs)", names=("reached",))
    differences = [100 * match.deviation for match in widths]
    columns: list[Filled] = [
        (Column("Model", "left", names=("model",)), [count.model for count in counts]),
        for_programs("image_size", ["x".join(map(str, count.image[1:])) for count in counts]),
        for_programs("num_classes", [count.num_classes for count in counts]),
        (Column("Width", names=("width",)), [Number(match.model.width, f"{match.model.width:g}") for match in widths]),
        for_programs("budget", [budget] * len(widths)),
        (cost, [counted(match.reached) for match in widths]),
        (Column("To", "left", names=("to",)), [other.model for other in others]),
        (Column("Budget", names=("wanted",)), [counted(match.wanted) for match in widths]),
        (Column("Difference", names=("difference_percent",)), [Number(each, f"{each:+.2f} %") for each in differences]),
        (Column("Verdict", "left", names=()), [near if matched else f"no width {near}" for matched in is_near]),
        for_programs("matched", [str(matched).lower() for matched in is_near]),
        for_programs("params", [count.params for count in counts]),
        for_programs("flops", [2 * count.macs for count in counts]),
    ]
    notes = dict.fromkeys(note for other in others for note in other.notes)
    return assemble(f"Widths at equal {BUDGET_NAMES[budget]}", columns, (WIDTHS, *notes))


def _is_near(match: WidthMatch) -> bool:
    return abs(match.deviation) <= TOLERANCE
